"""The process of one app instance whose code is an ASGI app or a server function.

The order is `on_startup`, the server, `on_shutdown`; each may be sync or
async, and takes the app's parameters by argument name. Everything runs in the
main thread: SIGTERM ends the server where it stands (a sync one by an
exception, an async one by cancelling it, uvicorn by its own graceful
shutdown), and `on_shutdown` runs exactly once whichever of these it was.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType

from callmesh import _code
from callmesh._failure import hint_for, user_traceback
from callmesh._process import (
    TERMINATED,
    Terminated,
    leave_threads_behind,
    line_buffered,
    start_from,
)
from callmeshpb.v1 import workload_pb2

Hook = Callable[..., object]

_STARTUP, _SERVER, _SHUTDOWN = "on_startup", "server", "on_shutdown"


def main(start: workload_pb2.WorkloadStart) -> int:
    """Serve until told to end, or until the server ends. The process's exit code.

    143 after SIGTERM, 1 when the user's code raised or does not hold what was
    deployed, 0 when the server function returned.
    """
    line_buffered()
    instance = Instance()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, instance.on_term)
    code = start.app.code
    try:
        module = _code.load(code, start.directory)
        environment = _code.environment_of(module, code.attribute)
        hooks = _hooks(environment, _listen_fd(start.app, os.environ))
    except Terminated:
        return TERMINATED
    except _code.CodeProblem as problem:
        return _failed(f"error: {problem}\n")
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        return _failed(
            f"error: module `{code.module}` could not be imported\n\n"
            + user_traceback(error, libraries=False)
            + (f"hint: {hint}\n" if (hint := hint_for(error)) else "")
        )
    return instance.run(hooks, _parameters(os.environ))


class Instance:
    """The server's life: which of the user's functions runs, and how to end it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=_loop_factory())
        self._task: asyncio.Task[object] | None = None
        self._is_interruptible = True
        self._terminating = False
        self._pid = os.getpid()

    def run(self, hooks: Mapping[str, Hook], parameters: Mapping[str, str]) -> int:
        """Call the hooks in their order. The process's exit code."""
        exit_code = 0
        started = False
        try:
            self._call(_STARTUP, hooks, parameters)
            started = True
            self._call(_SERVER, hooks, parameters)
        except (Terminated, asyncio.CancelledError) as error:
            exit_code = TERMINATED if self._terminating else _raised(_SERVER, error)
        except SystemExit as error:
            exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException as error:  # noqa: BLE001 - the user's server may raise anything
            exit_code = _raised(_SERVER if started else _STARTUP, error)
        self._is_interruptible = False
        if started:
            try:
                self._call(_SHUTDOWN, hooks, parameters)
            except BaseException as error:  # noqa: BLE001 - nor does a hook have to be polite
                exit_code = _raised(_SHUTDOWN, error)
        if self._terminating:
            exit_code = exit_code or TERMINATED
            leave_threads_behind(exit_code)
        self._runner.close()
        if exit_code == 0:
            sys.stderr.write(
                "callmesh: the server function returned; it must run until it is told to end\n"
            )
        return exit_code

    def on_term(self, number: int, _frame: FrameType | None) -> None:
        """SIGTERM, or Ctrl-C in a terminal: end the user's function that runs, once.

        uvicorn takes the signal itself while it serves and raises it again
        afterwards, which comes here too.
        """
        if os.getpid() != self._pid:
            # A child that user code forked: as if no handler had been there.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self._terminating or not self._is_interruptible:
            self._terminating = True
            return
        self._terminating = True
        if self._task is None:
            raise Terminated
        self._runner.get_loop().call_soon_threadsafe(self._task.cancel)

    def _call(self, name: str, hooks: Mapping[str, Hook], parameters: Mapping[str, str]) -> None:
        hook = hooks.get(name)
        if hook is None:
            return
        result = hook(**_arguments(name, hook, parameters))
        if inspect.isawaitable(result):
            self._runner.run(self._awaited(result))

    async def _awaited(self, awaitable: Awaitable[object]) -> None:
        self._task = asyncio.current_task()
        try:
            await awaitable
        finally:
            self._task = None


def _hooks(environment: object, listen_fd: int) -> dict[str, Hook]:
    """The functions of an environment by their place in its life. Raises `CodeProblem`."""
    hooks: dict[str, Hook] = {}
    for name in (_STARTUP, _SERVER, _SHUTDOWN):
        hook = getattr(environment, f"_{name}", None)
        if hook is not None:
            hooks[name] = hook
    if _SERVER not in hooks:
        app = getattr(environment, "app", None)
        if app is None:
            name = getattr(environment, "name", "")
            raise _code.CodeProblem(
                f"app `{name}` has nothing to run: give it an `app`, a function decorated "
                "with `@env.server`, or `args`"
            )
        from callmesh import _asgi

        hooks[_SERVER] = _asgi.server(app, getattr(environment, "uvicorn_config", None), listen_fd)
    return hooks


def _listen_fd(start: workload_pb2.AppStart, environ: Mapping[str, str]) -> int:
    """The inherited listening socket, or -1. A spawned process learns it from its environment."""
    descriptor = int(environ.get("CALLMESH_LISTEN_FD") or start.listen_fd)
    return descriptor if descriptor > 0 else -1


def _arguments(name: str, hook: Hook, parameters: Mapping[str, str]) -> dict[str, str]:
    """Those of the app's parameters that a function names, or all for ``**kwargs``."""
    wanted = inspect.signature(hook).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in wanted):
        return dict(parameters)
    chosen = {each.name: parameters[each.name] for each in wanted if each.name in parameters}
    missing = [
        each.name
        for each in wanted
        if each.name not in chosen
        and each.default is inspect.Parameter.empty
        and each.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    if missing:
        raise TypeError(
            f"`{name}` takes `{missing[0]}`, which is not a parameter of this app: "
            f"it has {', '.join(f'`{each}`' for each in parameters) or 'none'}"
        )
    return chosen


def _parameters(environ: Mapping[str, str]) -> dict[str, str]:
    values = json.loads(environ.get("CALLMESH_PARAMETERS") or "{}")
    return {str(name): value for name, value in values.items()}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raised(name: str, error: BaseException) -> int:
    return _failed(f"error: `{name}` raised\n\n{user_traceback(error)}")


def _failed(text: str) -> int:
    sys.stderr.write(text)
    sys.stderr.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main(start_from(os.environ)))
