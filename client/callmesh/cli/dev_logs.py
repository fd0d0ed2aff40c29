"""What the apps of `dev` write, as it is written: not what was written before."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from callmesh._sync import bridge
from callmesh.cli import mesh, output, watching
from callmesh_wire.errors import CallmeshError
from callmeshpb.v1 import log_pb2


class Followers:
    """One follower for each app; ``since`` is when `dev` began, in epoch seconds."""

    def __init__(self, connected: mesh.Mesh, since: float) -> None:
        self._mesh = connected
        self._since = since
        self._followed: set[str] = set()

    def follow(self, apps: Iterable[str]) -> None:
        """Print what these apps write from now on, each once."""
        for name in sorted(set(apps) - self._followed):
            try:
                request = self._request(name)
            except CallmeshError:
                continue  # not deployed yet: asked again after the next deploy
            self._followed.add(name)
            bridge().run(self._start(name, request))

    async def _start(self, name: str, request: log_pb2.TailLogsRequest) -> None:
        bridge().group.create_task(_print(name, request))

    def _request(self, name: str) -> log_pb2.TailLogsRequest:
        """What instances from before have written is skipped; new ones are read whole."""
        app = self._mesh.app(name)
        request = log_pb2.TailLogsRequest(scope=self._mesh.scope, app=name, follow=True)
        for each in app.instances:
            if each.created_at.ToNanoseconds() / 1e9 < self._since:
                last = log_pb2.TailLogsRequest(app=name, instance_id=each.id, tail_lines=1)
                for answer in self._mesh.log_batches(last):
                    request.resume[each.id] = answer.position
        return request


async def _print(name: str, request: log_pb2.TailLogsRequest) -> None:
    try:
        async for answer in watching.following(request, _quiet):
            for line in answer.lines:
                output.data(f"{name} | {line.text}")
            sys.stdout.flush()
    except CallmeshError as problem:
        output.say(f"what `{name}` writes is not followed any more: {problem.message}")


def _quiet() -> None:
    """`dev` says nothing about a control plane that is away: it comes back or a save says so."""
