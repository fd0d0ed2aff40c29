"""One process in the supervisor's table."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field

from callmesh_agent.supervisor.spawn import Inheritance
from callmesh_agent.supervisor.zygotes import Zygote
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import supervisor_pb2

RESTART = Backoff(base=0.1, factor=2.0, cap=5.0)
# A process that lived this long has no earlier deaths.
HEALTHY_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class Tracked:
    """A process, running or ended and not yet forgotten."""

    record: supervisor_pb2.ProcessRecord
    pidfd: int = -1
    # Kept, with its environment, only for what is restarted.
    request: supervisor_pb2.StartProcess | None = None
    zygote: Zygote | None = None
    # Not a child of this supervisor: nobody will know its exit status.
    is_adopted: bool = False
    # Monotonic seconds.
    born: float = 0.0
    # In a row, each after a short life.
    deaths: int = 0
    kill_timer: asyncio.TimerHandle | None = None
    # Somebody asked for its end: it is not restarted.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    # Nothing of it is left, and nothing will be started again.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def process(self) -> supervisor_pb2.Process:
        """What is told of it."""
        return self.record.process

    def send(self, number: int, *, to_group: bool) -> None:
        """Signal it; nothing happens where it has ended."""
        if self.pidfd < 0:
            return
        try:
            if to_group:
                os.killpg(self.process.pid, number)
            else:
                signal.pidfd_send_signal(self.pidfd, number)
            if number == signal.SIGTERM:
                # One that stopped itself hears of it only once it goes on.
                signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)
        except ProcessLookupError:
            return  # it ends at this moment: its pidfd says so

    def kill_later(self, seconds: float) -> None:
        """KILL its group if it lives after so many seconds."""
        self.cancel_kill()
        loop = asyncio.get_running_loop()
        self.kill_timer = loop.call_later(seconds, lambda: self.send(signal.SIGKILL, to_group=True))

    def cancel_kill(self) -> None:
        """It has ended, or is to be killed at another time."""
        if self.kill_timer is not None:
            self.kill_timer.cancel()
            self.kill_timer = None

    def delay(self, now: float) -> float:
        """Seconds to wait before it is started again; counts this death."""
        if now - self.born >= HEALTHY_SECONDS:
            self.deaths = 0
        self.deaths += 1
        return 0.0 if self.deaths == 1 else RESTART.delay(self.deaths - 2)


def new_record(
    request: supervisor_pb2.StartProcess, given: Inheritance
) -> supervisor_pb2.ProcessRecord:
    """The record of a start that is under way."""
    process = supervisor_pb2.Process(
        process_id=request.process_id,
        spec_hash=request.spec_hash,
        port=given.port,
        log_path=request.log_path,
        labels=request.labels,
        running=True,
        log_start=os.fstat(given.log).st_size,
    )
    process.started_at.GetCurrentTime()
    return supervisor_pb2.ProcessRecord(
        process=process,
        argv=request.argv,
        directory=request.directory,
        restart=request.restart,
        is_zygote=request.is_zygote,
    )


def spelled(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "status unknown"
    return f"exit code {status}" if status >= 0 else f"signal {-status}"
