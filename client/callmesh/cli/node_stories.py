"""What is told of a node: its state, what is on it, and what to do about it. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from callmesh.cli import output, spans
from callmesh.cli.stories import conditions
from callmesh_wire.nodes import node_state
from callmeshpb.v1 import scheduler_pb2


def node(found: scheduler_pb2.Node, now: float) -> list[str]:
    """A node: what it has, what it runs, how it does."""
    capacity = found.capacity
    cpu = f"{capacity.cpu:g}" + (" (shared)" if capacity.shared_cpu else "")
    lines = output.fields(
        [
            ("node", found.name),
            ("state", output.state(node_state(found))),
            ("note", note(found, now)),
            ("address", found.address or "loopback only"),
            ("zone", found.zone),
            ("labels", ", ".join(f"{k}={v}" for k, v in sorted(found.labels.items()))),
            ("cpu", cpu),
            ("memory", spans.size(capacity.memory)),
            ("python", ", ".join(capacity.python_versions)),
            ("instances", str(found.instances)),
            ("attempts", f"{found.attempts} of at most {capacity.slots} at once"),
            ("version", found.version),
            ("joined", f"{spans.since(found, 'joined_at', now)} ago"),
        ]
    )
    for title, left in (("Left on it", found.drain.left), ("Ended by drain", found.drain.ended)):
        if left:
            lines += ["", title]
            lines += [part for line in works(left) for part in output.wrapped(line, "  ")]
    return lines + conditions(found.conditions)


def note(found: scheduler_pb2.Node, now: float) -> str:
    """What a person should know or do about a node; "" about one that is in use."""
    name, away = found.name, spans.since(found, "away_since", now)
    since = f" since {away}" if away and not found.connected else ""
    match node_state(found):
        case "lost":
            return (
                f"lost{since}: its work was given to other nodes; start its agent again, or "
                f"forget it with `callmesh delete node {name}`"
            )
        case "away":
            return f"away{since}: what runs there goes on; it is lost once its lease is over"
        case "draining" if found.drain.expired:
            return f"draining, and past the deadline: {count(found)} left, to be ended"
        case "draining":
            return (
                f"draining{since and f', and away{since}'}: {count(found)} left, and "
                f"{spans.span(time_left(found, now))} to go; `callmesh drain {name}` shows why"
            )
        case "drained" if found.connected:
            return f"drained: stop its agent, or take it back with `callmesh undrain {name}`"
        case "drained":
            return (
                f"drained, and its agent is away{since}: forget it with `callmesh delete node "
                f"{name}`; to use it again, start its agent, then `callmesh undrain {name}`"
            )
    return ""


def time_left(found: scheduler_pb2.Node, now: float | None = None) -> float:
    """Seconds until a drain's deadline."""
    until = spans.seconds(found.drain, "deadline_at")
    return max(0.0, until - (time.time() if now is None else now))


def count(found: scheduler_pb2.Node) -> str:
    """What is on a node, in numbers: ``2 instances and 1 attempt``."""
    numbers = ((found.instances, "instance"), (found.attempts, "attempt"))
    said = [f"{number} {word}{'' if number == 1 else 's'}" for number, word in numbers if number]
    return " and ".join(said) or "nothing"


def works(found: Iterable[scheduler_pb2.NodeWork]) -> list[str]:
    """A line for each: ``2 instances of app `web`: …``, ``run `r-1`: …``."""
    lines = []
    for each in found:
        if each.run:
            lines.append(f"run `{each.run}`: {each.message}")
        else:
            number = "1 instance" if each.instances == 1 else f"{each.instances} instances"
            lines.append(f"{number} of app `{_app(each)}`: {each.message}")
    return lines


def _app(work: scheduler_pb2.NodeWork) -> str:
    usual = (work.project, work.domain) == ("default", "development")
    return work.app if usual else f"{work.app}.{work.domain}.{work.project}"
