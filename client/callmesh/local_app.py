"""An app that is served without a mesh: a process of its own on this machine.

It is started as a node's agent starts it, from the module that declares it, so
that what works here works on the mesh; its environment variables are its own,
and its output and its keyboard are the terminal's. It has the declared port
where that is free, and any free one otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from callmesh._local_apps import APP_VARIABLE, APPS, FILE_VARIABLE
from callmesh._sync import method
from callmesh.errors import DeploymentError
from callmesh_wire import names

HOST = "127.0.0.1"
# Below the range from which the kernel gives outgoing connections theirs.
OWN_PORTS = range(10_000, 20_000)
ACTIVATE = 60.0
# Beyond the app's grace: its keeper ends what the app has left behind.
_KEEPER_PATIENCE = 5.0
_POLL = 0.02


class NotStartedError(DeploymentError):
    """An app that was started and takes no calls. ``str()`` says how it went."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for an app, in seconds, and what to ask it."""

    activate: float = ACTIVATE
    deactivate: float = 6.0
    health: float = 2.0
    interval: float = 1.0
    path: str = "/health"


@dataclass(frozen=True, slots=True)
class Program:
    """What is started.

    ``port`` is the declared one; with ``is_fixed`` the program binds it without
    asking. With ``inherits_listener`` it is given a socket that listens.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    is_fixed: bool = False
    inherits_listener: bool = False


class LocalApp:
    """An `AppHandle` of an app that is a process of this machine."""

    def __init__(self, name: str, program: Program, limits: Limits) -> None:
        self.name = name
        self.program = program
        self.limits = limits
        self.project, self.domain = names.DEFAULT_PROJECT, names.DEFAULT_DOMAIN
        self.port = program.port
        # Served for this one's sake, and ended with it.
        self.brought: list[LocalApp] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_ready = False

    @property
    def endpoint(self) -> str:
        """The base URL for code."""
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for a browser."""
        return f"http://localhost:{self.port}"

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``failed`` (it ended by itself) or ``inactive``."""
        if self._keeper is None:
            return "inactive"
        if self._keeper.poll() is not None:
            return "failed"
        return "ready" if self._is_ready else "starting"

    def is_active(self) -> bool:
        """It takes calls."""
        return self.state == "ready"

    def is_deactivated(self) -> bool:
        """No process of it runs."""
        return self.state in ("inactive", "failed")

    @method
    async def activate(self, wait: bool = False) -> LocalApp:  # noqa: FBT001, FBT002 - Flyte's
        """Start it and what it depends on, where they do not run, on the ports they had.

        With ``wait`` until it takes calls. Raises `DeploymentError` when it ends
        before that, does not answer in time, or when its port is taken.
        """
        for each in self.brought:
            await each.activate.aio(wait=True)
        if self.is_deactivated():
            self._start()
        if wait and not self.is_active():
            await self._until_ready()
        return self

    @method
    async def deactivate(self, wait: bool = False) -> LocalApp:  # noqa: FBT001, FBT002 - Flyte's
        """End it, and what was served for its sake. With ``wait`` until it has ended."""
        ending = [self, *reversed(self.brought)]
        for each in ending:
            each.begin_end()
        if wait:
            for each in ending:
                await each._until_ended()
        return self

    @contextlib.asynccontextmanager
    async def ephemeral_ctx(self) -> AsyncIterator[LocalApp]:
        """Active inside the block, deactivated after it."""
        await self.activate.aio(wait=True)
        try:
            yield self
        finally:
            await self.deactivate.aio(wait=True)

    @contextlib.contextmanager
    def ephemeral_ctx_sync(self) -> Iterator[LocalApp]:
        """The same for blocking code."""
        self.activate(wait=True)
        try:
            yield self
        finally:
            self.deactivate(wait=True)

    def begin_end(self) -> None:
        """Have its process told to end."""
        self._is_ready = False
        if self._control is not None:
            self._control.close()
            self._control = None
            APPS.publish()

    def await_end(self) -> None:
        """Block until its process has ended; it is killed when that takes too long."""
        if self._keeper is None:
            return
        try:
            self._keeper.wait(self.limits.deactivate + _KEEPER_PATIENCE)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = None

    def epitaph(self) -> str:
        """How it ended by itself, in a sentence."""
        code = self._keeper.poll() if self._keeper is not None else None
        how = "was deactivated" if code is None else f"ended with exit code {code}"
        return f"app `{self.name}` {how}"

    def _start(self) -> None:
        self.begin_end()
        listener = _listener(self.name, self.program, self.port)
        self.port = listener.getsockname()[1]
        own, keepers = socket.socketpair()
        environment = {
            **self.program.environment,
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            APP_VARIABLE: self.name,
            FILE_VARIABLE: str(APPS.file),
        }
        passed = [keepers.fileno()]
        with listener, keepers:
            if self.program.inherits_listener:
                passed.append(listener.fileno())
                environment["CALLMESH_LISTEN_FD"] = str(listener.fileno())
            else:
                listener.close()
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "callmesh._keeper"),
                    *(str(os.getpid()), str(keepers.fileno()), str(self.limits.deactivate)),
                    *self.program.argv,
                ],
                env=environment,
                pass_fds=passed,
            )
        self._control = own

    async def _until_ready(self) -> None:
        began = time.monotonic()
        pause = _POLL
        while True:
            problem = await self._ask()
            if self._keeper is None or self._keeper.poll() is not None:
                told = self.epitaph()
                self.begin_end()
                raise NotStartedError(f"{told} before it took calls; what it wrote is above")
            if not problem:
                self._is_ready = True
                APPS.publish()
                return
            if time.monotonic() - began > self.limits.activate:
                await self.deactivate.aio(wait=True)
                raise NotStartedError(
                    f"app `{self.name}` takes no calls within {self.limits.activate:g} s: "
                    f"{problem}; it must listen on the port that `PORT` names"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self.limits.interval)

    async def _until_ended(self) -> None:
        """Wait for its end without a thread that waits for it."""
        deadline = time.monotonic() + self.limits.deactivate + _KEEPER_PATIENCE
        keeper = self._keeper
        while (  # noqa: ASYNC110 - a process sets no event
            keeper is not None and keeper.poll() is None and time.monotonic() < deadline
        ):
            await asyncio.sleep(_POLL)
        self.await_end()

    async def _ask(self) -> str:
        """Why it takes no calls; "" after an answer under 500, or in another protocol."""
        connected = False
        asked = f"GET {self.limits.path}"
        try:
            async with asyncio.timeout(self.limits.health):
                reader, writer = await asyncio.open_connection(HOST, self.port, limit=4096)
                connected = True
                try:
                    writer.write(
                        f"{asked} HTTP/1.1\r\nhost: {HOST}:{self.port}\r\n"
                        "user-agent: callmesh\r\nconnection: close\r\n\r\n".encode()
                    )
                    words = (await reader.readline()).split(None, 2)
                finally:
                    writer.close()
        except TimeoutError:
            return f"{asked} has no answer within {self.limits.health:g} s"
        except (OSError, ValueError):
            if not connected:
                return f"nothing listens on port {self.port}"
            words = []
        if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit():
            status = int(words[1])
            return f"{asked} answered {status}" if status >= 500 else ""
        # It speaks something else; but a listener that is inherited outlives a server
        # of ours that fails, which resets what waits in it.
        return f"{asked} has no answer" if self.program.inherits_listener else ""

    def __repr__(self) -> str:
        return f"<local app `{self.name}` at {self.endpoint}: {self.state}>"


def _bind_free(listener: socket.socket) -> None:
    """Bind a free port, at best one that no outgoing connection is given meanwhile."""
    for port in random.sample(OWN_PORTS, 100):
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return
    listener.bind((HOST, 0))


def _listener(name: str, program: Program, port: int) -> socket.socket:
    """A socket on a port, or on a free one where that is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as problem:
        if program.is_fixed:
            listener.close()
            raise NotStartedError(
                f"app `{name}` binds port {program.port} itself, which cannot be had "
                f"({problem.strerror}): end what has it, or write `$PORT` in its command"
            ) from None
        _bind_free(listener)
    if program.inherits_listener:
        listener.listen(128)
    return listener
