"""Readiness and health of one instance, asked over loopback.

Ready is an HTTP answer under 500 on a listener that belongs to the instance's
own processes; where HTTP is not spoken, an accepted connection. After that only
its exit, or the loss of the listener, takes an instance out, unless the user
set a health path: that is asked for as long as the instance serves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from callmesh_agent import ports
from callmesh_agent.core import events
from callmesh_agent.core.state import Instance
from callmesh_agent.ports import Listener
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import common_pb2, scheduler_pb2

FIRST_TRIES = Backoff(base=0.005, factor=1.5, cap=0.025)
# What has taken so long already may wait a little.
LATER_AFTER = 5.0
LATER_TRY = 0.25
HEALTH_EVERY = 2.0
HEALTH_TIMEOUT = 2.0
HEALTH_FAILURES = 3
# An inherited listener accepts before the app runs: its answer is worth waiting for.
ANSWER_INHERITED = 30.0
ANSWER = 5.0
# Until then a silence needs no explanation, which is dear to find.
QUIET = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of an instance whose readiness is asked."""

    instance_id: str
    generation: int
    pid: int
    # Where it may listen, in the order of preference.
    ports: tuple[int, ...]
    path: str
    # The user set the path: it must answer for as long as the instance serves.
    is_watched: bool
    # It serves on a socket that it inherited.
    is_inherited: bool
    # What accepts a connection and does not speak HTTP is ready too.
    is_tcp_enough: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back: ``status`` 0 where it was not HTTP; ``problem`` where nothing did."""

    status: int = 0
    problem: str = ""


def target_of(instance: Instance) -> Target:
    """How to ask an instance; an adopted one is known by its process's labels only."""
    assert instance.process is not None
    labels = instance.process.labels
    kind, declared = labels.get("kind", ""), int(labels.get("port", "0"))
    path, grpc = labels.get("health_path", ""), labels.get("protocol", "") == "grpc"
    if instance.desired is not None:
        path = instance.desired.spec.health_path
    candidates = [instance.process.port, declared]
    is_asgi = kind == "asgi"
    return Target(
        instance_id=instance.id,
        generation=instance.generation,
        pid=instance.process.pid,
        ports=tuple(dict.fromkeys(port for port in candidates if port)),
        path=path or "/health",
        is_watched=bool(path) and not grpc,
        is_inherited=is_asgi,
        is_tcp_enough=not path and (grpc or not is_asgi),
    )


def labels_of(spec: scheduler_pb2.AppSpec) -> Mapping[str, str]:
    """What `target_of` needs to know of an adopted process."""
    kinds = {scheduler_pb2.APP_KIND_ASGI: "asgi", scheduler_pb2.APP_KIND_SERVER: "server"}
    return {
        "kind": kinds.get(spec.kind, "command"),
        "port": str(spec.port),
        "health_path": spec.health_path,
        "protocol": "grpc" if spec.protocol == common_pb2.PROTOCOL_GRPC else "http",
    }


async def watch(target: Target, table: ports.ListenerTable) -> AsyncIterator[events.Event]:
    """Everything that there is to say about an instance, from its start on, without end."""
    while True:
        listener: Listener | None = None
        async for found in _await_ready(target):
            if isinstance(found, Listener):
                listener = found
                yield events.InstanceReady(
                    target.instance_id,
                    target.generation,
                    address=found.dial,
                    port=found.port,
                    exposed=found.is_exposed,
                )
            else:
                yield events.InstanceNoted(target.instance_id, target.generation, found)
        assert listener is not None
        yield await _await_trouble(target, listener, table)


async def _await_ready(target: Target) -> AsyncIterator[Listener | str]:
    """Reasons why it is not ready, now and then; last the listener that answers."""
    began = explained = time.monotonic()
    said = ""
    tries = 0
    while True:
        listener, problem = await _try(target)
        if listener is not None:
            yield listener
            return
        if time.monotonic() - explained > QUIET:
            explained = time.monotonic()
            problem = problem or _why_silent(target)
            if problem != said:
                said = problem
                yield problem
        is_late = time.monotonic() - began > LATER_AFTER
        await asyncio.sleep(LATER_TRY if is_late else FIRST_TRIES.delay(tries))
        tries += 1


async def _try(target: Target) -> tuple[Listener | None, str]:
    listener = find_listener(target)
    if listener is None:
        return None, ""
    patience = ANSWER_INHERITED if target.is_inherited else ANSWER
    answer = await _ask(listener, target.path, patience)
    if answer.status >= 500 or (answer.problem and not target.is_tcp_enough):
        said = answer.problem or f"answered {answer.status}"
        return None, f"GET {target.path} on port {listener.port}: {said}"
    if answer.status == 0 and not target.is_tcp_enough:
        return None, f"port {listener.port} does not speak HTTP"
    return listener, ""


def find_listener(target: Target) -> Listener | None:
    """The instance's own listener on a port where it may listen, if there is one."""
    among = [each for each in ports.listeners() if each.port in target.ports]
    own = ports.own_listeners(target.pid, among)
    return min(own, key=lambda each: target.ports.index(each.port), default=None)


def _why_silent(target: Target) -> str:
    silent = f"nothing of it listens on port {target.ports[0]} yet, which PORT names"
    elsewhere = sorted({each.port for each in ports.own_listeners(target.pid, ports.listeners())})
    if elsewhere:
        # It answers the question by itself: the command does not use the port it was given.
        heard = " and ".join(str(port) for port in elsewhere[:3])
        return f"{silent}; it listens on {heard} instead: have it use `$PORT`"
    for port in target.ports[1:]:
        holder = ports.holder(port)
        if holder is not None:
            return f"{silent}; the declared port {port} is held by {holder}"
        silent += f", nor on its declared port {port}"
    return silent


async def _await_trouble(
    target: Target, listener: Listener, table: ports.ListenerTable
) -> events.InstanceUnwell:
    failures = 0
    while True:
        await asyncio.sleep(HEALTH_EVERY)
        if listener not in table.recent(HEALTH_EVERY / 2):
            moved = find_listener(target)
            if moved is None:
                return _unwell(target, f"it no longer listens on port {listener.port}", lost=True)
            listener = moved
        if not target.is_watched:
            continue
        answer = await _ask(listener, target.path, HEALTH_TIMEOUT)
        if answer.problem or not 0 < answer.status < 500:
            failures += 1
            if failures >= HEALTH_FAILURES:
                said = answer.problem or f"answered {answer.status or 'what is not HTTP'}"
                message = f"GET {target.path} failed {failures} times in a row: {said}"
                return _unwell(target, message, lost=False)
        else:
            failures = 0


def _unwell(target: Target, message: str, *, lost: bool) -> events.InstanceUnwell:
    return events.InstanceUnwell(target.instance_id, target.generation, message, listener_lost=lost)


async def _ask(listener: Listener, path: str, patience: float) -> _Answer:
    """GET a path. Only the status line is read."""
    connected = False
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(listener.dial, listener.port, limit=4096)
            connected = True
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nhost: {listener.dial}:{listener.port}\r\n"
                    "user-agent: callmesh\r\naccept: */*\r\nconnection: close\r\n\r\n".encode()
                )
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        return _Answer(problem=f"no answer within {patience:g} s")
    except (OSError, ValueError) as problem:
        # Reset after it was accepted: it speaks something else.
        return _Answer() if connected else _Answer(problem=f"{problem}")
    return _parsed(line)


def _parsed(line: bytes) -> _Answer:
    words = line.split(None, 2)
    if len(words) >= 2 and words[0].startswith(b"HTTP/") and words[1].isdigit():
        return _Answer(status=int(words[1]))
    return _Answer()
