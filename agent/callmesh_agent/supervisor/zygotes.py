"""The supervisor's end of a zygote's control socket: forks and states."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from callmesh_wire import frames
from callmesh_wire.errors import FailedPreconditionError, UnavailableError
from callmeshpb.v1 import supervisor_pb2

FORK_SECONDS = 10.0
READY = supervisor_pb2.ZYGOTE_OUTCOME_READY
_OUTCOMES = {
    supervisor_pb2.ZYGOTE_OUTCOME_IMPORT_FAILED: "its import failed",
    supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE: "it cannot be forked",
}


class Zygote:
    """One zygote. Forks are asked for one after another, once it is ready."""

    def __init__(
        self,
        process_id: str,
        control: socket.socket,
        on_state: Callable[[supervisor_pb2.ZygoteState], None],
    ) -> None:
        self.process_id = process_id
        self.state: supervisor_pb2.ZygoteState | None = None
        self._control = control
        self._on_state = on_state
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()
        self._closed = asyncio.Event()
        self._last_id = 0
        self._answer: asyncio.Future[supervisor_pb2.ZygoteForked] | None = None

    async def run(self) -> None:
        """Hear the zygote until it ends, then fail what waits for it."""
        reader, writer = await asyncio.open_unix_connection(sock=self._control.dup())
        try:
            while (heard := await frames.read(reader, supervisor_pb2.ZygoteMessage)) is not None:
                self._hear(heard)
        except ConnectionError:
            pass  # ended within a frame, or reset: the same as its end
        finally:
            writer.close()
            self._control.close()
            self._closed.set()
            self._settled.set()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(self._ended())

    async def fork(self, start: bytes, descriptors: Mapping[str, int]) -> int:
        """The pid of a new process with these descriptors, once the zygote is ready.

        Raises `FailedPreconditionError` when the zygote cannot fork, and
        `UnavailableError` when it ended or did not answer.
        """
        await self._settled.wait()
        async with self._turn:
            self._check()
            self._last_id += 1
            order = supervisor_pb2.ZygoteFork(id=self._last_id, start=start, fds=descriptors)
            self._answer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(FORK_SECONDS):
                    await self._send(frames.encode(order), list(descriptors.values()))
                    forked = await self._answer
            except TimeoutError:
                raise UnavailableError(
                    f"zygote `{self.process_id}` did not fork within {FORK_SECONDS:.0f} s"
                ) from None
            except OSError:
                raise self._ended() from None
            finally:
                self._answer = None
        if forked.error:
            raise FailedPreconditionError(
                f"zygote `{self.process_id}` could not fork: {forked.error}"
            )
        return forked.pid

    async def wait_closed(self, seconds: float) -> None:
        """Wait until everything that the zygote said is heard, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def _hear(self, heard: supervisor_pb2.ZygoteMessage) -> None:
        if heard.HasField("state"):
            self.state = heard.state
            self.state.process_id = self.process_id
            self._settled.set()
            self._on_state(self.state)
            return
        answer = self._answer
        if answer is not None and not answer.done() and heard.forked.id == self._last_id:
            answer.set_result(heard.forked)

    def _check(self) -> None:
        if self.state is not None and self.state.outcome != READY:
            why = _OUTCOMES.get(self.state.outcome, "it is not ready")
            raise FailedPreconditionError(
                f"zygote `{self.process_id}` gives no process: {why}: {self.state.message}"
            )
        if self._closed.is_set():
            raise self._ended()

    def _ended(self) -> UnavailableError:
        return UnavailableError(f"zygote `{self.process_id}` has ended: start it again")

    async def _send(self, frame: bytes, descriptors: list[int]) -> None:
        sent = socket.send_fds(self._control, [frame], descriptors)
        if sent < len(frame):
            await asyncio.get_running_loop().sock_sendall(self._control, frame[sent:])
