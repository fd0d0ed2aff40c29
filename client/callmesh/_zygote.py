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

from callmesh_wire import frames
from callmeshpb.v1 import supervisor_pb2, workload_pb2

from callmesh import _code
from callmesh._failure import message_of, user_traceback
from callmesh._forkable import Baseline, obstacles
from callmesh._process import line_buffered

PREIMPORTED = (
    "asyncio", "logging.config", "concurrent.futures.thread", "http.server",
    "anyio", "anyio._backends._asyncio", "fastapi", "fastapi.responses", "httpx", "pydantic",
    "uvicorn", "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto", "uvloop", "websockets",
    "callmesh.app", "callmesh.serve", "callmesh.execute",
)  # fmt: skip
PR_SET_NAME = 15
MAX_DESCRIPTORS = 8
_LENGTH = struct.Struct(">I")
_PID = struct.Struct("i")
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
        """Fork as ordered. Returns in each child; and None when the supervisor is gone."""
        # Collections in children must not touch, and so copy, what they share.
        gc.freeze()
        while (received := self._receive()) is not None:
            child = self._fork(*received)
            if child is not None:
                return child
        return None

    def _fork(self, order: supervisor_pb2.ZygoteFork, passed: list[int]) -> Child | None:
        descriptors = dict(zip(order.fds, passed, strict=False))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        heard, said = os.pipe()
        try:
            between = os.fork()
        except OSError as problem:
            os.close(said)
            self._answer(order.id, 0, str(problem))
        else:
            if between == 0:
                _fork_again()
                os.close(heard)
                self._become_child(said, descriptors)
                return Child(workload_pb2.WorkloadStart.FromString(order.start), descriptors)
            os.close(said)
            told = os.read(heard, _PID.size)
            os.waitpid(between, 0)
            pid = _PID.unpack(told)[0] if told else 0
            self._answer(order.id, pid, "" if pid else "the new process ended at once")
        os.close(heard)
        for descriptor in passed:
            os.close(descriptor)
        return None

    def _become_child(self, said: int, descriptors: Mapping[str, int]) -> None:
        """A session of its own, default signals, its own output; then say that it is there."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(said, _PID.pack(os.getpid()))
        os.close(said)
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
    began = time.perf_counter()
    gc.disable()
    _preimport()
    gc.enable()
    gc.collect()
    zygote = Zygote(control, lock)
    zygote.tell(_state(supervisor_pb2.ZYGOTE_OUTCOME_READY, began))
    child = zygote.serve()
    while child is not None:
        _settle(child)
        if child.start.WhichOneof("role") != "zygote":
            return _work(child.start)
        child = _task_zygote(child)
    # Not the interpreter's end: exit handlers of the user's module are for workers.
    sys.stdout.flush()
    os._exit(0)


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
        state.traceback = user_traceback(error)
        zygote.tell(state)
        return None
    if found := obstacles(before):
        state = _state(supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE, began)
        state.message = f"the import of `{code.module}` opened {', '.join(found)}"
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
    if start.directory:
        os.chdir(start.directory)
    wanted = [start.directory, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    for place in reversed([each for each in wanted if each and each not in sys.path]):
        sys.path.insert(0, place)
    line_buffered()
    # `random` is seeded anew at every fork, by itself; numpy is not.
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()


def _fork_again() -> None:
    """Returns in the second child; the process between ends."""
    try:
        if os.fork() == 0:
            return
    except OSError:
        os._exit(1)  # nothing is said: the zygote reports the end
    os._exit(0)


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
