"""`python -m callmesh._zygote`: the process that others are forked from.

The base zygote has imported what most apps import, and no user code. Forked
from it, a task zygote has imported one environment's module as well. Both wait
on their control socket for orders, in a single thread without an event loop,
and end when the socket closes. What they forked does not end with them.

A child is forked twice, so that it becomes the supervisor's. It returns from
`Zygote.serve`, all the way down to `main`, and goes on with an empty stack.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from callmesh import _code
from callmesh._failure import message_of, user_traceback
from callmesh._forkable import Baseline, obstacles
from callmesh._process import START_VARIABLE, line_buffered, start_from
from callmesh_wire import frames
from callmeshpb.v1 import supervisor_pb2, workload_pb2

PREIMPORTED = (
    "asyncio", "logging.config", "concurrent.futures.thread", "http.server",
    "anyio", "anyio._backends._asyncio", "fastapi", "fastapi.responses", "httpx", "pydantic",
    "uvicorn", "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto", "uvloop", "websockets",
    "callmesh.app", "callmesh.serve", "callmesh.execute",
)  # fmt: skip
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
# The spare's exit code when the supervisor has closed the control socket.
STREAM_ENDED = 3
MAX_DESCRIPTORS = 8
REPARENTING_SECONDS = 0.0002
_LENGTH = struct.Struct(">I")
# Where the arguments are in memory: fields of `/proc/self/stat` after the name.
_ARG_START, _ARG_END = 45, 46


@dataclass(frozen=True, slots=True)
class Child:
    """What a forked process is to be, and the descriptors that it came with."""

    start: workload_pb2.WorkloadStart
    descriptors: Mapping[str, int]


class Zygote:
    """One zygote's side of its control socket."""

    def __init__(self, control: socket.socket, lock: int) -> None:
        self._control = control
        # A child that kept it would keep the zygote's id taken.
        self._lock = lock

    def tell(self, state: supervisor_pb2.ZygoteState) -> None:
        """Tell the supervisor what became of the imports."""
        self._send(supervisor_pb2.ZygoteMessage(state=state))

    def serve(self) -> Child | None:
        """Fork as ordered. Returns in each child; and None when the supervisor is gone.

        A process forked in advance, the spare, waits for the order. It forks
        the child, which answers, and ends, so that the child is the
        supervisor's: one fork's time from the order to the answer, not two.
        """
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(-1)
        # Collections in children must not touch, and so copy, what they share.
        gc.freeze()
        own = os.getpid()
        while True:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            spare = os.fork()
            if spare == 0:
                return self._stand_by(own)
            _, status = os.waitpid(spare, 0)
            if status == STREAM_ENDED << 8:
                return None

    def _stand_by(self, zygote: int) -> Child:
        """The spare's life; returns in its child alone."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != zygote:
            os._exit(0)
        _set_title("callmesh: spare")
        received = self._receive()
        if received is None:
            os._exit(STREAM_ENDED)
        order, passed = received
        spare = os.getpid()
        try:
            child = os.fork()
        except OSError as problem:
            self._answer(order.id, 0, str(problem))
            os._exit(0)
        if child != 0:
            os._exit(0)
        os.setsid()
        self._answer(order.id, os.getpid(), "")
        descriptors = dict(zip(order.fds, passed, strict=False))
        self._leave(descriptors)
        # Nobody but the supervisor may learn of this process's end: the spare,
        # whose memory takes the kernel a moment to free, must be gone first.
        while os.getppid() == spare:
            time.sleep(REPARENTING_SECONDS)
        return Child(workload_pb2.WorkloadStart.FromString(order.start), descriptors)

    def _leave(self, descriptors: Mapping[str, int]) -> None:
        """In the child: give up what is the zygote's, and take the log for output."""
        self._control.close()
        if self._lock >= 0:
            os.close(self._lock)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        if (log := descriptors.get("log")) is not None:
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)

    def _receive(self) -> tuple[supervisor_pb2.ZygoteFork, list[int]] | None:
        """The next order with its descriptors, or None at the end of the stream."""
        head, passed, _, _ = socket.recv_fds(
            self._control, _LENGTH.size, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if len(head) < _LENGTH.size:
            return None
        payload = bytearray()
        length = _LENGTH.unpack(head)[0]
        while len(payload) < length:
            part = self._control.recv(length - len(payload))
            if not part:
                return None
            payload += part
        return supervisor_pb2.ZygoteFork.FromString(bytes(payload)), passed

    def _answer(self, order: int, pid: int, error: str) -> None:
        forked = supervisor_pb2.ZygoteForked(id=order, pid=pid, error=error)
        self._send(supervisor_pb2.ZygoteMessage(forked=forked))

    def _send(self, message: supervisor_pb2.ZygoteMessage) -> None:
        # A supervisor that is gone is seen where the next order is awaited.
        with contextlib.suppress(ConnectionError):
            self._control.sendall(frames.encode(message))


def main() -> int:
    """The base zygote; in a child the workload that it became. The exit code."""
    control = socket.socket(fileno=int(os.environ.pop("CALLMESH_ZYGOTE_FD")))
    lock = int(os.environ.pop("CALLMESH_LOCK_FD", "-1"))
    for descriptor in (control.fileno(), lock):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)  # noqa: FBT003
    # Newer Pythons warn of threads at a fork: `_forkable` has looked at them.
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder that `-m` was used in
    if START_VARIABLE in os.environ:
        # Not forked from a base zygote: it has its environment already.
        start = start_from(os.environ)
        del os.environ[START_VARIABLE]
        child = _task_zygote(Child(start, {"control": control.detach(), "lock": lock}))
    else:
        child = _base_zygote(Zygote(control, lock))
    while child is not None:
        _settle(child)
        if child.start.WhichOneof("role") != "zygote":
            return _work(child.start)
        child = _task_zygote(child)
    # Not the interpreter's end: exit handlers of the user's module are for workers.
    sys.stdout.flush()
    os._exit(0)


def _base_zygote(zygote: Zygote) -> Child | None:
    """Import what most workloads import, and fork."""
    began = time.perf_counter()
    gc.disable()
    _preimport()
    gc.enable()
    gc.collect()
    zygote.tell(_state(supervisor_pb2.ZYGOTE_OUTCOME_READY, began))
    return zygote.serve()


def _task_zygote(child: Child) -> Child | None:
    """Import the user's module, say what came of it, and fork where that is possible."""
    code = child.start.zygote.code
    control = socket.socket(fileno=child.descriptors["control"])
    zygote = Zygote(control, child.descriptors["lock"])
    _set_title(f"callmesh: zygote {code.module}")
    before = Baseline.take()
    began = time.perf_counter()
    try:
        _code.load(code, child.start.directory)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        state = _state(supervisor_pb2.ZYGOTE_OUTCOME_IMPORT_FAILED, began)
        state.error_type = type(error).__name__
        state.message = message_of(error)
        state.traceback = user_traceback(error, libraries=False)
        zygote.tell(state)
        return None
    if found := obstacles(before):
        state = _state(supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE, began)
        left = ", ".join(found)
        state.message = f"the import of `{code.module}` leaves behind what no fork survives: {left}"
        zygote.tell(state)
        return None
    zygote.tell(_state(supervisor_pb2.ZYGOTE_OUTCOME_READY, began))
    return zygote.serve()


def _work(start: workload_pb2.WorkloadStart) -> int:
    """Be the workload."""
    if start.HasField("app"):
        _set_title(f"callmesh: app {start.app.instance_id}")
        return _main_of("callmesh.serve")(start)
    _set_title(f"callmesh: worker {start.worker.worker_id}")
    return _main_of("callmesh.execute")(start)


def _main_of(module: str) -> Callable[[workload_pb2.WorkloadStart], int]:
    """A role's entry point. By the module's name: the package has a verb `serve` as well."""
    main: Callable[[workload_pb2.WorkloadStart], int] = importlib.import_module(module).main
    return main


def _settle(child: Child) -> None:
    """Environment, folder, paths and random state of a new process."""
    start = child.start
    os.environ.clear()
    os.environ.update(start.environment)
    if "TZ" in os.environ:
        time.tzset()
    if start.HasField("app"):
        start.app.listen_fd = child.descriptors.get("listen", -1)
        if start.app.listen_fd >= 0:
            os.environ["CALLMESH_LISTEN_FD"] = str(start.app.listen_fd)
    if start.workdir or start.directory:
        os.chdir(start.workdir or start.directory)
    wanted = [start.directory, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    for place in reversed([each for each in wanted if each and each not in sys.path]):
        sys.path.insert(0, place)
    line_buffered()
    # `random` is seeded anew at every fork, by itself; numpy is not.
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()


def _preimport() -> None:
    """Import what most workloads import. What is not installed is not missed."""
    for module in PREIMPORTED:
        try:
            importlib.import_module(module)
        except ImportError:
            continue
        except Exception as problem:  # noqa: BLE001 - a broken package must not stop the node
            sys.stderr.write(f"callmesh: `{module}` is not imported in advance: {problem!r}\n")


def _state(outcome: supervisor_pb2.ZygoteOutcome, began: float) -> supervisor_pb2.ZygoteState:
    return supervisor_pb2.ZygoteState(outcome=outcome, import_seconds=time.perf_counter() - began)


def _set_title(title: str) -> None:
    """What `ps` shows: the arguments in memory are written over, as far as there is room."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, IndexError, ValueError):
        return
    if begin == 0 or end <= begin:
        return
    text = title.encode()[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)
    ctypes.CDLL(None).prctl(PR_SET_NAME, title.removeprefix("callmesh: ").encode()[:15], 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
