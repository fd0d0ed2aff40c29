"""One call policy per service, and what each kind of caller gets of it.

| what is declared        | Envoy                          | gRPC (`xds:///`)             |
|-------------------------|--------------------------------|------------------------------|
| request timeout         | `timeout`, the whole response  | `max_stream_duration`        |
| cookie affinity         | stateful session               | not honoured: see `gaps`     |
| prefer_local            | priority by node, then zone    | the same (EDS priority)      |
| retries (always on)     | by method, see `RETRY_*`       | gRPC's own transparent ones  |
| limits (always on)      | circuit breakers               | `max_requests`               |
| ejection (always on)    | failed connects                | not needed: own subchannels  |

gRPC gets no retry policy: a call that no server has seen is repeated by gRPC
itself, and repeating any other one could run it twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callmesh_agent.xds.http import STATEFUL_SESSION, UNSENT, route_metadata
from callmeshpb.v1 import common_pb2, node_pb2

_TYPES = "type.googleapis.com/envoy."

# Repeating these is safe by HTTP's own rules (RFC 9110, 9.2.2).
IDEMPOTENT_METHODS = "GET|HEAD|OPTIONS|PUT|DELETE|TRACE"
# None of these can have reached the app's code.
RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request,retriable-headers"
RETRY_IDEMPOTENT = f"{RETRY_UNSEEN},reset,gateway-error"

RETRIES = 5
# How often another instance is drawn, until none of the predicates says no.
SELECTIONS = 300
# A call that is repeated is repeated on the own node, where that has an instance
# that takes calls: of a node that is cut off from the others every other choice
# is bad, and each costs `CONNECT_TIMEOUT`. Endpoints say so in their metadata.
LB = "envoy.lb"
ELSEWHERE = "elsewhere"

# Envoy's defaults (1,024 connections and calls, 3 retries at once) are limits
# for a fleet behind one edge: here one killed instance under 32 callers turns
# into 503s, and every open WebSocket counts as a call. What protects a node is
# its own file limit (`envoy.bootstrap`) and the app; these must only be out of
# the way, for gRPC callers too, who apply 1,024 where nothing is said.
LIMIT = 100_000

# Below the shortest keep-alive in common use (gunicorn 2 s, uvicorn and Node
# 5 s), so that Envoy closes an idle connection before the app does: otherwise
# a POST may meet the app's close and be lost. A new connection on loopback
# costs less than 0.1 ms.
HTTP1_IDLE = "1.5s"
CONNECT_TIMEOUT = "2s"
# Milliseconds for which what was sent may stay without the other machine's word.
UNACKNOWLEDGED_MS = 4000


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How calls to one service are made. Routes depend on nothing else of it."""

    mesh_name: str
    # Seconds for the whole response; 0: none, so that streams may last.
    request_timeout: float
    cookie_affinity: bool
    # The service as the command line names it.
    described: str

    @classmethod
    def of(cls, view: node_pb2.ServiceView) -> CallPolicy:
        """The policy that a service declares."""
        service = view.service
        scope = ""
        if service.mesh_name != service.name:
            scope = f" --project {service.project} --domain {service.domain}"
        return cls(
            mesh_name=service.mesh_name,
            request_timeout=view.timeouts.request.ToNanoseconds() / 1e9,
            cookie_affinity=view.cookie_affinity,
            described=f"{service.name}{scope}",
        )


def gaps(view: node_pb2.ServiceView) -> list[str]:
    """What the service declares and some caller does not honour, as sentences."""
    if view.cookie_affinity and view.service.protocol == common_pb2.PROTOCOL_GRPC:
        where = f"app `{view.service.name}` holds for calls to its mesh port"
        return [f"`cookie_affinity` of {where}, not for `xds:///` callers: gRPC keeps no cookies"]
    return []


def http_routes(policy: CallPolicy) -> list[dict[str, Any]]:
    """The two routes of a service for Envoy: what may be repeated, and the rest."""
    idempotent = {
        "prefix": "/",
        "headers": [
            {
                "name": ":method",
                "string_match": {"safe_regex": {"regex": IDEMPOTENT_METHODS}},
            }
        ],
    }
    return [
        _http_route(policy, idempotent, RETRY_IDEMPOTENT),
        _http_route(policy, {"prefix": "/"}, RETRY_UNSEEN),
    ]


def _http_route(policy: CallPolicy, match: dict[str, Any], retry_on: str) -> dict[str, Any]:
    return {
        "name": policy.mesh_name,
        "match": match,
        "metadata": route_metadata(
            subject=f"app `{policy.mesh_name}`",
            state=f"see `callmesh describe app {policy.described}`",
            logs=f"see `callmesh logs app/{policy.described}`",
        ),
        # A caller that passes an answer on must not make its own caller repeat.
        "response_headers_to_remove": [UNSENT],
        "route": {
            "cluster": policy.mesh_name,
            "timeout": f"{policy.request_timeout:.9f}s",
            "retry_policy": {
                "retry_on": retry_on,
                "retriable_headers": [{"name": UNSENT, "present_match": True}],
                "num_retries": RETRIES,
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": f"{_TYPES}extensions.retry.host.previous_hosts.v3"
                            ".PreviousHostsPredicate"
                        },
                    },
                    {
                        "name": "envoy.retry_host_predicates.omit_host_metadata",
                        "typed_config": {
                            "@type": f"{_TYPES}extensions.retry.host.omit_host_metadata.v3"
                            ".OmitHostMetadataConfig",
                            "metadata_match": {"filter_metadata": {LB: {ELSEWHERE: True}}},
                        },
                    },
                ],
                "host_selection_retry_max_attempts": SELECTIONS,
            },
        },
    }


def session_affinity(policy: CallPolicy) -> dict[str, Any]:
    """Per-host settings that keep a browser on the instance that it met first.

    A stateful session and not a hash ring: a new instance then moves nobody
    who is on a living one, so an upload finds the instance of its WebSocket.
    The cookie carries the app's name, because browsers share cookies between
    the ports of one host.
    """
    if not policy.cookie_affinity:
        return {}
    return {
        STATEFUL_SESSION: {
            "@type": f"{_TYPES}extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
            "stateful_session": {
                "session_state": {
                    "name": "envoy.http.stateful_session.cookie",
                    "typed_config": {
                        "@type": f"{_TYPES}extensions.http.stateful_session.cookie.v3"
                        ".CookieBasedSessionState",
                        "cookie": {
                            "name": f"callmesh-{policy.mesh_name}",
                            "path": "/",
                            "attributes": [{"name": "SameSite", "value": "Lax"}],
                        },
                    },
                }
            },
        }
    }


def grpc_routes(policy: CallPolicy) -> list[dict[str, Any]]:
    """The one route of a service for gRPC's own xDS client."""
    action: dict[str, Any] = {"cluster": policy.mesh_name}
    if policy.request_timeout:
        action["max_stream_duration"] = {"max_stream_duration": f"{policy.request_timeout:.9f}s"}
    return [{"match": {"prefix": ""}, "route": action}]


def cluster_policy(protocol: common_pb2.Protocol) -> dict[str, Any]:
    """Limits, ejection and protocol of a cluster, for both kinds of caller."""
    return {
        **upstream_protocol(grpc=protocol == common_pb2.PROTOCOL_GRPC),
        "lb_policy": "ROUND_ROBIN",
        # Those that are ejected are called only where nothing else is left. By
        # default that is so where half of them are: a node that is cut off from
        # the others would call those more often than its own.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        # A node that was cut off: idle connections to it, and those with a call.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 2, "keepalive_interval": 1, "keepalive_probes": 3}
        },
        "upstream_bind_config": {
            "socket_options": [
                {
                    "description": "TCP_USER_TIMEOUT",
                    "level": "6",
                    "name": "18",
                    "int_value": UNACKNOWLEDGED_MS,
                    "state": "STATE_PREBIND",
                }
            ]
        },
        # An instance that cannot be connected to is out for a moment. Answers
        # of 5xx eject nobody: they are the app's to give, and one bad request
        # repeated by a caller must not take every instance out.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "2s",
            "base_ejection_time": "2s",
            "max_ejection_time": "10s",
            "max_ejection_percent": 100,
        },
    }


def upstream_protocol(*, grpc: bool, idle_timeout: str = "") -> dict[str, Any]:
    """What an instance speaks, and what every cluster has in common."""
    idle = idle_timeout or ("" if grpc else HTTP1_IDLE)
    http2 = {"http2_protocol_options": {"max_concurrent_streams": 1000}}
    upstream: dict[str, Any] = {
        "explicit_http_config": http2 if grpc else {"http_protocol_options": {}},
        **({"common_http_protocol_options": {"idle_timeout": idle}} if idle else {}),
    }
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, LIMIT)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
                **upstream,
            }
        },
    }
