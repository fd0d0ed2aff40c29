"""The agent's side of its supervisor: one is always there, or being started.

What it tells unasked is held back until its whole list was heard, so that the
core never hears of a process that it does not know.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

from callmesh_agent.cancelled import raise_if_cancelled
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events
from callmesh_agent.identities import Identities
from callmesh_agent.supervisor.client import SupervisorClient
from callmesh_agent.supervisor.launch import ensure_running
from callmesh_wire.backoff import Backoff
from callmesh_wire.errors import CallmeshError, UnavailableError
from callmeshpb.v1 import supervisor_pb2

RETRY = Backoff(base=0.02, factor=2.0, cap=2.0)
log = logging.getLogger("callmesh.agent")

Tail = Callable[[supervisor_pb2.Process], tuple[str, ...]]


class Supervision:
    """Keeps a line to the supervisor, and starts a new one when it dies."""

    def __init__(
        self,
        settings: AgentSettings,
        deliver: Callable[[events.Event], None],
        tail: Tail,
        on_started: Callable[[supervisor_pb2.Process], None],
    ) -> None:
        """``tail`` gives the last lines of an ended process; ``on_started`` hears of each start."""
        self._settings = settings
        self._deliver = deliver
        self._tail = tail
        self._on_started = on_started
        self._client: SupervisorClient | None = None
        # What was told before the list, None once that was heard.
        self._held: list[events.Event] | None = None
        # An end may be heard before the answer to the start: not to be added then.
        self._ended: deque[tuple[str, int]] = deque(maxlen=64)
        self.identities = Identities()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            try:
                await asyncio.to_thread(
                    ensure_running,
                    self._settings.python,
                    self._settings.supervisor_socket,
                    self._settings.state_dir,
                    self._settings.logs_dir,
                )
                async with asyncio.TaskGroup() as group:
                    await self._stay(group)
            except* (CallmeshError, OSError) as problems:
                log.warning("the supervisor is away: %s", problems.exceptions[0])
            raise_if_cancelled()
            if self._client is not None:
                failures = 0
                self._client = None
                self._deliver(events.SupervisorLost())
            await asyncio.sleep(RETRY.jittered(failures, random.random))
            failures += 1

    async def start(self, request: supervisor_pb2.StartProcess) -> supervisor_pb2.Process:
        """Start a process. Raises `FailedPreconditionError` or `UnavailableError`."""
        process = await self._answering().start(request)
        if (process.process_id, process.pid) not in self._ended:
            self.identities.add(process)
            self._on_started(process)
        return process

    async def signal(self, process_id: str, signal: int, kill_after: float) -> None:
        """Signal a process's group; one that is gone already is no error."""
        await self._answering().signal(process_id, signal, group=True, kill_after=kill_after)

    async def forget(self, process_id: str) -> None:
        """Acknowledge an end."""
        await self._answering().forget(process_id)

    def _answering(self) -> SupervisorClient:
        if self._client is None:
            raise UnavailableError("the supervisor is being started")
        return self._client

    async def _stay(self, group: asyncio.TaskGroup) -> None:
        client = SupervisorClient(self._settings.supervisor_socket)
        self._held = []
        line = group.create_task(
            client.run(
                on_exit=self._exited,
                on_zygote=lambda state: self._tell(events.ZygoteReported(state)),
                on_restart=self._restarted,
            )
        )
        processes = list(await client.list())
        self._client = client
        self.identities.replace(processes)
        for process in processes:
            if process.running:
                self._on_started(process)
        self._deliver(events.SupervisorConnected(tuple(processes)))
        held, self._held = self._held, None
        for event in held:
            self._deliver(event)
        await line

    def _tell(self, event: events.Event) -> None:
        if self._held is None:
            self._deliver(event)
        else:
            self._held.append(event)

    def _exited(self, process: supervisor_pb2.Process) -> None:
        self.identities.remove(process)
        self._ended.append((process.process_id, process.pid))
        self._tell(events.ProcessExited(process, self._tail(process)))

    def _restarted(self, process: supervisor_pb2.Process) -> None:
        self.identities.add(process)
        self._on_started(process)
