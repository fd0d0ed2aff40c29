"""gRPC calls to apps by name: channels and stubs that find their instances through the mesh.

Calls go by gRPC's own xDS client (`xds:///app`): straight to an instance on
the same node, through its node's Envoy elsewhere, balanced call by call. A
channel is opened at its first call, not when it is made: it may stand at a
module's top, be made before the app is deployed, and survives a fork.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from callmesh import settings
from callmesh._calls_aio import AioChannel
from callmesh._calls_sync import SyncChannel
from callmesh.endpoint import endpoint_of
from callmesh_wire.names import AppName

Stub = TypeVar("Stub")
BOOTSTRAP = "GRPC_XDS_BOOTSTRAP_CONFIG"


class _Channels:
    """`callmesh.channel(app)`, and `callmesh.channel.aio(app)` for async code."""

    def __call__(
        self, app: str, *, project: str | None = None, domain: str | None = None
    ) -> grpc.Channel:
        """A channel to an app. It opens at the first call.

        That raises `errors.AppNotFoundError` for an app that is not deployed. A
        call ends no later than the attempt, or the call, that it is made from.
        """
        return SyncChannel(lambda: target_of(app, project, domain))

    def aio(
        self, app: str, *, project: str | None = None, domain: str | None = None
    ) -> grpc.aio.Channel:
        """The same for async code; each event loop has connections of its own."""
        return AioChannel(lambda: target_of(app, project, domain))


class _Stubs:
    """`callmesh.stub(GreeterStub, app)`, and `callmesh.stub.aio(GreeterStub, app)`."""

    def __call__(
        self,
        stub: Callable[[Any], Stub],
        app: str,
        *,
        project: str | None = None,
        domain: str | None = None,
    ) -> Stub:
        """A generated stub on a channel to an app (see `channel`)."""
        return stub(channel(app, project=project, domain=domain))

    def aio(
        self,
        stub: Callable[[Any], Stub],
        app: str,
        *,
        project: str | None = None,
        domain: str | None = None,
    ) -> Stub:
        """The same for async code."""
        return stub(channel.aio(app, project=project, domain=domain))


channel = _Channels()
stub = _Stubs()


def target_of(app: str, project: str | None, domain: str | None) -> str:
    """What gRPC dials for an app. Raises `errors.AppNotFoundError`."""
    endpoint = endpoint_of(app, project, domain)
    current = settings.current()
    if current.mode != settings.LOCAL and _has_xds(current):
        name = AppName(project or current.project, domain or current.domain, app)
        return f"xds:///{name.mesh_name}"
    return urlsplit(endpoint).netloc


def _has_xds(current: settings.Settings) -> bool:
    """Whether gRPC in this process hears of the mesh; a node's agent tells it, if there is one."""
    if os.environ.get(BOOTSTRAP):
        return True
    folder = current.place.runtime_dir if current.place else ""
    socket = Path(folder) / "ads.sock"
    if not folder or not socket.exists():
        return False
    # gRPC reads it when the first such channel of the process is made.
    os.environ[BOOTSTRAP] = json.dumps(
        {
            "xds_servers": [
                {
                    "server_uri": f"unix://{socket}",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["ignore_resource_deletion"],
                }
            ],
            "node": {"id": f"script-{os.getpid()}", "cluster": "callmesh"},
        }
    )
    return True
