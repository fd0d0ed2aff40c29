"""The process that executes attempts of tasks: a worker.

The node's agent sends `prepare` (which function, which inputs) and then `go`
over the workload socket; the worker answers with what became of it. User code
has the main thread to itself: a sync function is called there, an async one
runs on an event loop that lives as long as the worker, so that what a module
keeps open (a pool of connections) can be used by the next attempt.

A worker outlives its agent. What it executes goes on, what it holds is said
again to the next agent until acknowledged, and written to the node's spool
when no agent comes for a while.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from callmesh import _copies
from callmesh._attempt import Attempt, AttemptRunner
from callmesh._process import (
    TERMINATED,
    Terminated,
    leave_threads_behind,
    line_buffered,
    start_from,
)
from callmesh._worker_link import Line, WorkerLink
from callmeshpb.v1 import node_pb2, scheduler_pb2, workload_pb2

SPOOL_AFTER = 10.0
LEAVE_AFTER = 60.0

Key = tuple[str, int, int]


def main(start: workload_pb2.WorkloadStart) -> int:
    """Execute attempts until told to end. The process's exit code.

    0 when no agent came back for a minute, 143 after SIGTERM.
    """
    line_buffered()
    worker = Worker(start, os.environ["CALLMESH_WORKLOAD_SOCKET"], _spool())
    try:
        code = worker.run()
    except Terminated:
        code = TERMINATED
    worker.deliver()
    if code == TERMINATED:
        leave_threads_behind(code)
    worker.close()
    return code


class Worker:
    """What is prepared, what runs, and what the agent has not acknowledged."""

    def __init__(
        self, start: workload_pb2.WorkloadStart, socket_path: str, spool: Path | None
    ) -> None:
        self._id = start.worker.worker_id
        self._runner = AttemptRunner(start.worker.code, start.directory)
        self._spool = spool
        self._link = WorkerLink(socket_path, self._hello)
        self._told: Line | None = None
        self._prepared: dict[Key, Attempt] = {}
        # Replaced, never changed: the link's thread reads them for a hello.
        self._reports: dict[Key, node_pb2.AttemptReport] = {}
        self._spooled: set[Key] = set()
        self._in_user_code = False
        self._is_idle = False
        self._terminating = False
        self._pid = os.getpid()

    def run(self) -> int:
        """Serve attempts. Raises `Terminated` on SIGTERM, and once user code closed the line."""
        signal.signal(signal.SIGTERM, self._on_term)
        self._runner.warm_up()
        self._link.start()
        for line in self._lines():
            reply = self._receive(line)
            if reply is None:
                # A new agent does not know of what was only prepared.
                self._prepared.clear()
                self._link.broken(line)
            else:
                self._handle(reply)
            if self._link.was_closed and not self._reports:
                # Its event loop is closed as well: another worker takes what comes.
                raise Terminated
        return 0

    def deliver(self) -> None:
        """Leave nothing behind that only this process knows."""
        line = self._link.current(0)
        if line is None or line is not self._told:
            self._spool_reports()

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()

    def _receive(self, line: Line) -> workload_pb2.WorkloadReply | None:
        with self._idle():
            try:
                return line.receive()
            except OSError:
                return None

    @contextlib.contextmanager
    def _idle(self) -> Iterator[None]:
        """A time in which SIGTERM ends the worker at once."""
        self._is_idle = True
        try:
            if self._terminating:
                raise Terminated
            yield
        finally:
            self._is_idle = False

    def _lines(self) -> Iterator[Line]:
        """The line to read from, again and again; ends when no agent comes back."""
        while True:
            with self._idle():
                line = self._link.current(SPOOL_AFTER)
            if line is None:
                self._spool_reports()
                with self._idle():
                    line = self._link.current(LEAVE_AFTER - SPOOL_AFTER)
            if line is None:
                return
            if line is not self._told:
                # A report that ended while the line was opened was not in its hello.
                self._told = line
                for report in list(self._reports.values()):
                    self._link.send(workload_pb2.WorkloadMessage(attempt=report))
            yield line

    def _handle(self, reply: workload_pb2.WorkloadReply) -> None:
        match reply.WhichOneof("message"):
            case "prepare":
                order = reply.prepare
                self._prepared[_key(order)] = self._runner.prepare(order)
            case "go":
                self._go(reply.go)
            case "ack":
                self._acknowledged(reply.ack)

    def _go(self, go: node_pb2.AttemptGo) -> None:
        attempt = self._prepared.pop(_key(go), None)
        if attempt is None:
            return
        key = _key(go)
        running = attempt.report(scheduler_pb2.ATTEMPT_PHASE_RUNNING, self._id)
        self._report(key, running)
        # The run before in this process may have put a handler of its own here.
        signal.signal(signal.SIGTERM, self._on_term)
        self._in_user_code = True
        try:
            ended = self._runner.execute(attempt, running)
            if os.getpid() != self._pid:
                # A child that user code forked came back from it: the parent answers.
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                os._exit(0)
        finally:
            self._in_user_code = False
            if self._terminating:
                # The agent asked for this end: it says itself what it was.
                self._reports.pop(key, None)
                _copies.delete()
        if self._terminating:
            raise Terminated
        self._report(key, ended)
        # Nobody waits for that.
        _copies.delete()

    def _report(self, key: Key, report: node_pb2.AttemptReport) -> None:
        self._reports[key] = report
        self._link.send(workload_pb2.WorkloadMessage(attempt=report))

    def _acknowledged(self, ack: node_pb2.AttemptAck) -> None:
        key = _key(ack)
        self._reports.pop(key, None)
        if key in self._spooled and self._spool is not None:
            self._spooled.discard(key)
            (self._spool / _spool_name(key)).unlink(missing_ok=True)

    def _hello(self) -> list[workload_pb2.WorkloadMessage]:
        reports = list(self._reports.values())
        hello = workload_pb2.WorkloadHello(
            worker_id=self._id, attempt=reports[0] if reports else None
        )
        return [
            workload_pb2.WorkloadMessage(hello=hello),
            *(workload_pb2.WorkloadMessage(attempt=report) for report in reports[1:]),
        ]

    def _spool_reports(self) -> None:
        """Write what is not acknowledged to the node's spool, each file whole or not at all."""
        if self._spool is None:
            return
        for key, report in self._reports.items():
            if key in self._spooled or report.phase == scheduler_pb2.ATTEMPT_PHASE_RUNNING:
                continue
            target = self._spool / _spool_name(key)
            draft = target.with_suffix(f".{self._pid}.tmp")
            draft.write_bytes(report.SerializeToString())
            draft.replace(target)
            self._spooled.add(key)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that user code forked: as if no handler had been there.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        if self._terminating:
            return
        self._terminating = True
        if self._is_idle or (self._in_user_code and not self._runner.cancel()):
            raise Terminated


def _key(message: node_pb2.AttemptOrder | node_pb2.AttemptGo | node_pb2.AttemptAck) -> Key:
    return message.run, message.fence.epoch, message.fence.counter


def _spool_name(key: Key) -> str:
    run, epoch, counter = key
    return f"{run}.{epoch}.{counter}.report"


def _spool() -> Path | None:
    folder = os.environ.get("CALLMESH_SPOOL", "")
    return Path(folder) if folder else None


if __name__ == "__main__":
    sys.exit(main(start_from(os.environ)))
