"""How gRPC channels and servers are built: one place for keepalive and limits.

Messages are bounded at `MAX_MESSAGE` both ways. Keepalive pings find a dead
peer in about 20 s without an open call costing anything.
"""

from __future__ import annotations

import grpc
import grpc.aio

from callmesh_wire.jointoken import SERVER_NAME

MAX_MESSAGE = 32 * 1024 * 1024
AUTHORIZATION = "authorization"
# A serialised ForwardedCaller, on the port for nodes.
CALLER = "callmesh-caller-bin"
# Seconds after which an agent asks whether a silent server is there, and waits for the answer.
NODE_PING, NODE_PONG = 2, 3
# Milliseconds for a node's TCP and TLS handshake: over a slow wire, or when a thousand nodes
# come at once, a shorter limit ends each attempt before its turn, and all begin again.
NODE_CONNECT = 5_000

_LIMITS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
CLIENT_OPTIONS = [
    *_LIMITS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # An HTTP proxy in the environment is not for a control plane.
    ("grpc.enable_http_proxy", 0),
]
SERVER_OPTIONS = [
    *_LIMITS,
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 1_000),
    # Two servers must never share a port and split its callers.
    ("grpc.so_reuseport", 0),
]
# Of an option that is there twice gRPC takes the first.
NODE_OPTIONS = list(
    {
        **dict(CLIENT_OPTIONS),
        "grpc.keepalive_time_ms": NODE_PING * 1000,
        "grpc.keepalive_timeout_ms": NODE_PONG * 1000,
        "grpc.min_reconnect_backoff_ms": NODE_CONNECT,
        "grpc.ssl_target_name_override": SERVER_NAME,
    }.items()
)
NODE_SERVER_OPTIONS = list(
    {
        **dict(SERVER_OPTIONS),
        "grpc.http2.min_ping_interval_without_data_ms": NODE_PING * 500,
    }.items()
)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to ``HOST:PORT`` or ``unix:/path``. It connects at the first call."""
    return grpc.aio.insecure_channel(target, options=CLIENT_OPTIONS)


def open_node_channel(target: str, certificate: str) -> grpc.aio.Channel:
    """A node's channel to the server whose certificate (PEM) it knows; TLS.

    A server that does not answer is noticed within `NODE_PING` + `NODE_PONG` s.
    """
    return grpc.aio.secure_channel(
        target,
        grpc.ssl_channel_credentials(root_certificates=certificate.encode()),
        options=NODE_OPTIONS,
    )


def credentials(token: str) -> tuple[tuple[str, str], ...]:
    """Call metadata that proves who calls; empty for a Unix socket's callers."""
    return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()


def new_server() -> grpc.aio.Server:
    """A server without ports."""
    return grpc.aio.server(options=SERVER_OPTIONS)


def new_node_server() -> grpc.aio.Server:
    """A server for nodes' channels, without ports."""
    return grpc.aio.server(options=NODE_SERVER_OPTIONS)
