"""A task worker's line to its node's agent, kept up beside the user's code.

User code runs in the main thread, which also reads and writes the line. A
second thread only waits for the line to break, and opens it again: so a worker
that computes for an hour still tells a new agent within a moment what it runs.
On the way of a run the second thread never wakes.
"""

from __future__ import annotations

import contextlib
import errno
import random
import select
import socket
import threading
import time
from collections.abc import Callable

from callmesh_wire.backoff import Backoff
from callmesh_wire.frames import BlockingFrames
from callmeshpb.v1 import workload_pb2

Line = BlockingFrames[workload_pb2.WorkloadReply]

_RETRY = Backoff(base=0.02, factor=1.6, cap=1.0)


class WorkerLink:
    """One connection at a time, replaced when it breaks.

    ``hello`` gives the messages that open a connection. `send` and `current`
    are for the main thread; whatever was sent into a connection that broke is
    not repeated here.
    """

    def __init__(self, path: str, hello: Callable[[], list[workload_pb2.WorkloadMessage]]) -> None:
        self._path = path
        self._hello = hello
        self._changed = threading.Condition()
        self._line: Line | None = None
        # User code has closed the line's descriptor.
        self.was_closed = False

    def start(self) -> None:
        """Connect if the agent is there, and keep the line up from now on."""
        self._line = self._connect()
        threading.Thread(target=self._keep, name="callmesh-link", daemon=True).start()

    def current(self, patience: float) -> Line | None:
        """The line; None if there is none within ``patience`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._line is not None, patience)
            return self._line

    def send(self, message: workload_pb2.WorkloadMessage) -> bool:
        """Send it if the line is up; False when it is not."""
        with self._changed:
            if self._line is None:
                return False
            try:
                self._line.send(message)
            except OSError as problem:
                self._drop(self._line)
                if problem.errno not in (errno.EBADF, errno.ENOTSOCK):
                    return False
                # The keeper waits on it for ever. The hello says what was to be sent.
                self.was_closed = True
                self._line = self._connect()
                return self._line is not None
            return True

    def broken(self, line: Line) -> None:
        """Say that a line has ended or carried what is not a frame."""
        with self._changed:
            self._drop(line)

    def _drop(self, line: Line) -> None:
        if self._line is line:
            self._line = None
        # Wakes the keeper's poll; the descriptor stays open until nobody reads it.
        with contextlib.suppress(OSError):
            line.connection.shutdown(socket.SHUT_RDWR)

    def _keep(self) -> None:
        attempt = 0
        while True:
            line = self._line
            if line is not None:
                attempt = 0
                _wait_for_hangup(line.connection)
                self.broken(line)
            line = self._connect()
            if line is None:
                time.sleep(_RETRY.jittered(attempt, random.random))
                attempt += 1
                continue
            with self._changed:
                self._line = line
                self._changed.notify_all()

    def _connect(self) -> Line | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
            line = Line(connection, workload_pb2.WorkloadReply)
            for message in self._hello():
                line.send(message)
        except OSError:
            connection.close()
            return None
        return line


def _wait_for_hangup(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll()
