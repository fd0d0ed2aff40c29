"""The server itself, for whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from callmesh_server.api.caller import Caller
from callmesh_server.config import ServerSettings
from callmesh_server.core.joining import PROTOCOL_VERSION
from callmesh_server.core.times import stamp
from callmeshpb.v1 import common_pb2, scheduler_pb2


class AboutApi:
    """GetServer of SchedulerService."""

    def __init__(self, settings: ServerSettings, epoch: int) -> None:
        self._settings = settings
        self._epoch = epoch
        self._started_at = stamp(time.time())

    async def get_server(
        self, request: scheduler_pb2.GetServerRequest, caller: Caller
    ) -> scheduler_pb2.GetServerResponse:
        """What this server is."""
        return scheduler_pb2.GetServerResponse(
            version=self._settings.version,
            protocol_version=PROTOCOL_VERSION,
            state_dir=str(self._settings.state_dir),
            ingress_url=self._settings.ingress_url,
            started_at=self._started_at,
            epoch=self._epoch,
            pid=os.getpid(),
            caller=caller.label,
            storage=await asyncio.to_thread(_storage, self._settings) if request.storage else (),
        )


def _storage(settings: ServerSettings) -> list[common_pb2.StorageUse]:
    """The store with its journal, and the blobs."""
    store = list(settings.database.parent.glob(f"{settings.database.name}*"))
    blobs = list(settings.blobs.glob("*/*"))
    return [
        _use("store", settings.database.parent, store),
        _use("blobs", settings.blobs, blobs),
    ]


def _use(kind: str, folder: Path, files: list[Path]) -> common_pb2.StorageUse:
    size = 0
    for each in files:
        with contextlib.suppress(FileNotFoundError):
            size += each.stat().st_size
    return common_pb2.StorageUse(kind=kind, folder=str(folder), bytes=size, count=len(files))
