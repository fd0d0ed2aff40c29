"""A real supervisor in a folder of its own, and a client of it, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.client import SupervisorClient
from callmesh_agent.supervisor.launch import ensure_running
from callmesh_wire.errors import UnavailableError
from callmeshpb.v1 import supervisor_pb2

PATIENCE = 15.0


class Supervised:
    """What a test does with a supervisor. Everything started here ends with the test."""

    def __init__(self, folder: Path, group: asyncio.TaskGroup) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.socket = folder / "s.sock"
        self.logs = folder / "logs"
        self.pid = 0
        self.client = SupervisorClient(self.socket)
        self.restarts: asyncio.Queue[supervisor_pb2.Process] = asyncio.Queue()
        self.exits: list[supervisor_pb2.Process] = []
        self.zygotes: list[supervisor_pb2.ZygoteState] = []
        self._news = asyncio.Event()
        self._group = group
        self._line: asyncio.Task[None] | None = None
        self._started: dict[int, int] = {}

    def launch(self) -> int:
        """Start a supervisor if none runs; its pid."""
        self.pid = ensure_running(sys.executable, self.socket, self.state, self.logs)
        self._started[self.pid] = proc.start_ticks(self.pid)
        return self.pid

    async def connect(self) -> None:
        """Open a new line to it, in place of an earlier one."""
        await self.disconnect()
        self.client = SupervisorClient(self.socket)
        self._line = self._group.create_task(self._listen(self.client))
        await self.client.list()

    async def disconnect(self) -> None:
        """Close the line, as an agent that dies does."""
        if self._line is not None:
            self._line.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._line
            self._line = None

    async def restart(self) -> None:
        """Kill the supervisor with -9 and start its successor."""
        await self.disconnect()
        await self.kill(self.pid)
        self.launch()
        await self.connect()

    async def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signal a process and wait for its end."""
        pidfd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pidfd, number)
        await wait_for_end(pidfd)

    async def start(self, process_id: str, *argv: str, **options: object) -> supervisor_pb2.Process:
        """Start a process that logs to `<id>.log`."""
        request = supervisor_pb2.StartProcess(
            process_id=process_id, argv=argv, log_path=str(self.log(process_id)), **options
        )
        process = await self.client.start(request)
        self._started[process.pid] = process.start_ticks
        return process

    def log(self, process_id: str) -> Path:
        """Where a process's output goes."""
        return self.logs / f"{process_id}.log"

    async def output(self, process_id: str, lines: int = 1) -> str:
        """A process's output once it has so many lines."""
        path = self.log(process_id)
        async with asyncio.timeout(PATIENCE):
            while (text := path.read_text()).count("\n") < lines:
                await asyncio.sleep(0.005)
        return text

    async def exited(self, process_id: str) -> supervisor_pb2.Process:
        """The end of a process, told once since the last call for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._news.clear()
                for process in self.exits:
                    if process.process_id == process_id:
                        self.exits.remove(process)
                        return process
                await self._news.wait()

    async def zygote_state(self, process_id: str) -> supervisor_pb2.ZygoteState:
        """What became of a zygote's imports, told once since the last call for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._news.clear()
                for state in self.zygotes:
                    if state.process_id == process_id:
                        self.zygotes.remove(state)
                        return state
                await self._news.wait()

    async def restarted(self) -> supervisor_pb2.Process:
        """The next process that the supervisor started again."""
        async with asyncio.timeout(PATIENCE):
            process = await self.restarts.get()
        self._started[process.pid] = process.start_ticks
        return process

    async def close(self) -> None:
        """End everything, politely if that works, else by pid."""
        await self.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.client.end_supervisor(0.5)
        locks = [*self.state.glob("locks/*.lock"), self.state / "supervisor.lock"]
        for lock in locks:
            for pid in proc.holders(lock):
                self._started[pid] = proc.start_ticks(pid)
        for pid, ticks in self._started.items():
            if ticks and proc.start_ticks(pid) == ticks:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def _listen(self, client: SupervisorClient) -> None:
        with contextlib.suppress(UnavailableError):
            await client.run(self._on_exit, self._on_zygote, self.restarts.put_nowait)

    def _on_exit(self, process: supervisor_pb2.Process) -> None:
        self.exits.append(process)
        self._news.set()

    def _on_zygote(self, state: supervisor_pb2.ZygoteState) -> None:
        self.zygotes.append(state)
        self._news.set()


@contextlib.asynccontextmanager
async def supervised() -> AsyncIterator[Supervised]:
    """A running supervisor with a connected client."""
    folder = Path(tempfile.mkdtemp(prefix="callmesh-"))
    async with asyncio.TaskGroup() as group:
        own = Supervised(folder, group)
        try:
            own.launch()
            await own.connect()
            yield own
        finally:
            await own.close()
            shutil.rmtree(folder, ignore_errors=True)


async def wait_for_end(pidfd: int) -> None:
    """Wait until the process has ended; closes the pidfd."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def pss_megabytes(pid: int) -> float:
    """A process's proportional share of memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no such figure for process {pid}")
