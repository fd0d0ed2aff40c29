"""`callmesh agent`: one node of a mesh whose control plane is elsewhere."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import signal
import socket
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from callmesh_agent.ports import holder
from callmesh_agent.supervisor.launch import ensure_running
from callmesh_up import down, hosting, ports, record
from callmesh_up.hosting import Parts, Told, stop_event
from callmesh_up.layout import Layout, prepare
from callmesh_up.options import AgentOptions
from callmesh_up.speaker import Speaker
from callmesh_wire import diskfile, jointoken
from callmesh_wire.errors import FailedPreconditionError


def run(options: AgentOptions, layout: Layout) -> int:
    """Run a node's agent in this process until it is told to end; the exit code.

    TERM and Ctrl-C end everything on the node; HUP ends the agent alone, and
    the next one goes on with what runs.
    """
    say = Speaker(None)

    def main(told: Told) -> Coroutine[Any, Any, None]:
        token = jointoken.read(options.join_token_file)
        _check_address(options)
        prepare(layout)
        record.acquire(layout)
        _check_ingress(options, layout)
        ensure_running(
            sys.executable, layout.supervisor_socket, layout.agent, layout.agent / "logs"
        )
        return _Node(options, layout, say, token).run(told)

    return hosting.run(layout, say, main)


class _Node:
    """The agent and its channel."""

    def __init__(
        self,
        options: AgentOptions,
        layout: Layout,
        say: Speaker,
        token: jointoken.JoinToken,
    ) -> None:
        self._options = options
        self._layout = layout
        self._say = say
        self._token = token
        self._handed_over = False
        self._has_joined = False

    async def run(self, told: Told) -> None:
        stop = stop_event(told)

        def hand_over() -> None:
            self._handed_over = True
            stop.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hand_over)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = Parts(tasks, stop)
                await self._start(parts)
                await stop.wait()
                self._say.ending()
                await parts.end()
        finally:
            if self._handed_over:
                self._layout.lock.unlink(missing_ok=True)
            else:
                await down.end_supervisor(self._layout)
                down.clean(self._layout)

    async def _start(self, parts: Parts) -> None:
        from callmesh_agent import pages
        from callmesh_agent.agent import Agent
        from callmesh_agent.config import AgentSettings
        from callmesh_agent.remote_link import RemoteLink

        options, layout = self._options, self._layout
        settings = AgentSettings(
            state_dir=layout.agent,
            runtime_dir=layout.runtime,
            pages_socket=layout.web_socket,
            ingress_port=options.ingress_port,
            ingress_address=options.ingress_address,
            version=version("callmesh"),
            node=options.name,
            address=options.address,
            zone=options.zone,
            labels=options.labels,
            slots=options.slots,
            **{f"{kind}_cap": size for kind, size in options.caps.items()},
            mesh=hashlib.sha256(self._token.certificate.encode()).hexdigest(),
        )
        link = RemoteLink(
            options.server, self._token, options.name, diskfile.token(settings.identity_file)
        )
        parts.add(pages.serve(layout.web_socket, link.pages))
        self._say.note(f"node `{options.name}` joins the mesh at {options.server} …")
        agent = Agent(settings, link)
        if not await parts.start(lambda serving: agent.run(self._join, serving)):
            return
        gc.freeze()
        if not self._has_joined:
            self._say.note(
                f"node `{options.name}` waits for the server at {options.server}; "
                "what ran on it before goes on"
            )

    def _join(self) -> None:
        self._has_joined = True
        self._say.ready(f"node `{self._options.name}` is up\n")


def _check_ingress(options: AgentOptions, layout: Layout) -> None:
    """Raise `PortProblem` where Envoy could not listen for browsers.

    A node's own Envoy may have the port already: it outlives the agent, and a
    supervisor that was killed.
    """
    found = holder(options.ingress_port)
    if found is not None and _is_of(found.pid, layout):
        return
    flags = ("--ingress-address", "--ingress-port")
    ports.check(options.ingress_address, options.ingress_port, "browsers", flags, holder)


def _is_of(pid: int, layout: Layout) -> bool:
    """Whether a process was started with a file of this node's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.startswith(bytes(layout.agent)) for word in words)


def _check_address(options: AgentOptions) -> None:
    """Raise `FailedPreconditionError` for an address at which nobody could call this node."""
    host, _, port = options.server.rpartition(":")
    source = _source(host.strip("[]"), int(port))
    if not options.address:
        if not source or ip_address(source).is_loopback:
            return
        raise FailedPreconditionError(
            f"name the address at which other nodes call this one, with `--address {source}`: "
            "apps on it listen there for the mesh"
        )
    if ip_address(options.address).is_loopback and source and not ip_address(source).is_loopback:
        raise FailedPreconditionError(
            f"nobody else can call this node at `{options.address}`: name the address of this "
            f"machine with `--address {source}`"
        )
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((options.address, 0))
        except OSError:
            own = f"; calls to the server leave from `{source}`" if source else ""
            raise FailedPreconditionError(
                f"`{options.address}` is not an address of this machine{own}: name one of its own "
                "with `--address`"
            ) from None


def _source(host: str, port: int) -> str:
    """This machine's address on the way to the server, or "" where there is no way."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
