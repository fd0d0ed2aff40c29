"""The HTTP connection manager of a listener, and the sentences it answers with.

Nothing in here depends on a service's policy: a listener that changes cuts
its connections, so what may change travels in routes (RDS).
"""

from __future__ import annotations

from typing import Any

_TYPES = "type.googleapis.com/envoy."
# On an answer of a node's Envoy to a call that it has not passed on.
UNSENT = "x-callmesh-unsent"
STATEFUL_SESSION = "envoy.filters.http.stateful_session"
_SUBJECT = "%METADATA(ROUTE:callmesh:subject)%"
_STATE = "%METADATA(ROUTE:callmesh:state)%"
_LOGS = "%METADATA(ROUTE:callmesh:logs)%"

# Envoy's response flags and what they mean to a caller. The first match wins:
# a call that used up its retries carries the last try's flag as well.
_NOT_DELIVERED = ("UH", "UF", "NC")
_SENTENCES = (
    ("UH", f"no instance of {_SUBJECT} is ready: {_STATE}"),
    ("UF", f"{_SUBJECT} cannot be connected to: {_STATE}"),
    ("UC", f"{_SUBJECT} closed the connection before it had answered: {_LOGS}"),
    ("UR", f"{_SUBJECT} reset the call before it had answered: {_LOGS}"),
    ("UPE", f"{_SUBJECT} answered with something else than its declared protocol: {_LOGS}"),
    ("UT", f"{_SUBJECT} did not answer within its `Timeouts(request=)`: {_LOGS}"),
    ("UO", f"too many calls to {_SUBJECT} are waiting on this node: call again later"),
    ("NC", f"{_SUBJECT} is on its way to or from this node: {_STATE}"),
)


def route_metadata(subject: str, state: str, logs: str) -> dict[str, Any]:
    """What the sentences say about a route: what was called, and where to look."""
    return {"filter_metadata": {"callmesh": {"subject": subject, "state": state, "logs": logs}}}


def connection_manager(
    *, edge: bool, inbound: bool, config_source: dict[str, Any]
) -> dict[str, Any]:
    """The HTTP connection manager of a listener that gets its routes from a source.

    ``edge`` is the ingress: it tells apps where a browser called from, while a
    mesh port passes on what the calling app says. ``inbound`` says to another
    node's Envoy which calls were not delivered. The stat prefix and the name
    of the routes are the listener's to add.
    """
    return {
        "rds": {"config_source": config_source},
        "codec_type": "AUTO",
        "http_filters": [
            # Without a session state it does nothing: routes switch it on.
            {
                "name": STATEFUL_SESSION,
                "typed_config": {
                    "@type": f"{_TYPES}extensions.filters.http.stateful_session.v3.StatefulSession"
                },
            },
            router(),
        ],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
        },
        "http2_protocol_options": {"max_concurrent_streams": 1000},
        "common_http_protocol_options": {"idle_timeout": "3600s", "max_headers_count": 200},
        "max_request_headers_kb": 64,
        # A slow client may hold a connection for its headers that long; a
        # body, a response and a WebSocket may take as long as they like.
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "use_remote_address": edge,
        # For a caller on loopback Envoy writes the machine's own address here:
        # the ingress' routes say who called instead.
        "skip_xff_append": True,
        "internal_address_config": {},
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPES}extensions.request_id.uuid.v3.UuidRequestIdConfig",
                # Otherwise Envoy writes a digit of its own into the id.
                "pack_trace_reason": False,
            }
        },
        "server_header_transformation": "PASS_THROUGH",
        "local_reply_config": {"mappers": _local_replies(inbound=inbound)},
    }


def misdirected(text: str) -> dict[str, Any]:
    """The virtual host for every name that no other one has: somebody else's, made to
    point here (DNS rebinding). It answers 421 with a text."""
    return {
        "name": "callmesh/misdirected",
        "domains": ["*"],
        "routes": [direct(421, text)],
    }


def direct(status: int, text: str) -> dict[str, Any]:
    """A route that is answered here."""
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": text}},
    }


def router() -> dict[str, Any]:
    """The filter that every chain ends with."""
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{_TYPES}extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }


def _local_replies(*, inbound: bool) -> list[dict[str, Any]]:
    said = {"headers_to_add": [{"header": {"key": UNSENT, "value": "true"}}]}
    return [
        {
            "filter": {"response_flag_filter": {"flags": [flag]}},
            **(said if inbound and flag in _NOT_DELIVERED else {}),
            "body_format_override": {
                "text_format_source": {"inline_string": f"{sentence}\n"},
                "content_type": "text/plain; charset=utf-8",
            },
        }
        for flag, sentence in _SENTENCES
    ]
