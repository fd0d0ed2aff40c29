"""Records as a reader sees them: words, colours of state, durations, bounded values. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, scheduler_pb2

VALUE_LIMIT = 4_000
"""Characters of one value that a page shows."""

FINAL = frozenset(
    {
        scheduler_pb2.RUN_PHASE_SUCCEEDED,
        scheduler_pb2.RUN_PHASE_FAILED,
        scheduler_pb2.RUN_PHASE_ABORTED,
        scheduler_pb2.RUN_PHASE_TIMED_OUT,
        scheduler_pb2.RUN_PHASE_RECOVERED,
    }
)
_TONES = {
    "good": {"ready", "succeeded", "true", "recovered"},
    "bad": {"failed", "timed out", "lost", "unhealthy", "backoff"},
    "busy": {
        *("queued", "waiting for resources", "initializing", "running", "dispatched"),
        *("pending", "deploying", "preparing", "starting", "draining", "deleting", "away"),
    },
}


def word(enum: EnumTypeWrapper, value: int) -> str:
    """An enum's value as words: ``RUN_PHASE_TIMED_OUT`` is "timed out"."""
    name = str(enum.Name(value))
    words = _snake(enum.DESCRIPTOR.name)
    return name.removeprefix(f"{words}_").replace("_", " ").lower()


def tone(words: str) -> str:
    """How a state is coloured: good, bad, busy or idle."""
    return next((name for name, all_ in _TONES.items() if words in all_), "idle")


def seconds(amount: float) -> str:
    """A duration in at most two units."""
    if amount < 0.001:
        return "under 1 ms"
    if amount < 0.0995:
        return f"{amount * 1000:.1f} ms" if amount < 0.00995 else f"{amount * 1000:.0f} ms"
    if amount < 60:
        return f"{amount:.1f} s"
    minutes, rest = divmod(round(amount), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def epoch(time: Timestamp) -> float:
    """Epoch seconds; 0 for an unset time."""
    return time.seconds + time.nanos / 1e9


def ago(time: Timestamp, now: float) -> str:
    """How long before ``now`` (epoch seconds); empty for an unset time."""
    at = epoch(time)
    if not at:
        return ""
    passed = round(now - at)
    if passed < 1:
        return "just now"
    return f"{passed} s ago" if passed < 60 else f"{seconds(passed)} ago"


def duration(start: Timestamp, end: Timestamp, now: float) -> str:
    """From ``start`` to ``end``, or to ``now`` while there is no end."""
    begun = epoch(start)
    return seconds((epoch(end) or now) - begun) if begun else ""


def is_final(run: scheduler_pb2.Run) -> bool:
    """Whether the run has ended."""
    return run.phase in FINAL


def is_settled(app: scheduler_pb2.App) -> bool:
    """Whether the app is where it is meant to be, or stays where it failed."""
    return app.state in (
        scheduler_pb2.APP_STATE_READY,
        scheduler_pb2.APP_STATE_FAILED,
        scheduler_pb2.APP_STATE_INACTIVE,
    )


def refresh_after(age: float) -> int:
    """Seconds until a page of something ``age`` seconds old is loaded again."""
    return 1 if age < 20 else 3 if age < 300 else 10


def value_text(value: common_pb2.Value, limit: int = VALUE_LIMIT) -> str:
    """A value for reading: indented JSON, cut at ``limit`` characters.

    What is not JSON is described and never decoded: a pickle is code.
    """
    kind = value.WhichOneof("kind")
    if kind == "json":
        return _cut(_indented(value.json), limit)
    if kind == "pickle":
        return f"a Python object ({size(len(value.pickle))} pickled)"
    if kind == "ref":
        what = {"json": "a JSON value", "pickle": "a Python object"}.get(value.ref.media, "a file")
        return f"{what} ({size(value.ref.size)}, blob {value.ref.digest[:12]}…)"
    return "nothing"


def size(amount: int) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024  # type: ignore[assignment]
    return f"{amount:.1f} GiB"


def replicas(app: scheduler_pb2.App) -> str:
    """Ready of wanted, as in "1 of 2"."""
    ready = sum(
        each.status.state == scheduler_pb2.INSTANCE_STATE_READY
        and each.intent == scheduler_pb2.INSTANCE_INTENT_RUN
        for each in app.instances
    )
    wanted = max(1, app.spec.min_replicas)
    if app.deleting or app.desired_state == scheduler_pb2.DESIRED_STATE_INACTIVE:
        wanted = 0
    return f"{ready} of {wanted}"


def mesh_name(spec: scheduler_pb2.AppSpec, sibling: str = "") -> str:
    """The name in addresses of the app, or of another one of its project and domain."""
    return AppName(spec.project, spec.domain, sibling or spec.name).mesh_name


def link_target(app: scheduler_pb2.App, path: str) -> str:
    """Where a link of the app leads, which may be on the app itself; "" for what is no address."""
    if path.startswith(("http://", "https://")):
        return path
    return f"{app.url.rstrip('/')}{path}" if app.url and path.startswith("/") else ""


def called(run: scheduler_pb2.Run) -> str:
    """What the run is a call of: its task, or the traced function that was a step of it."""
    return f"{run.step} (traced)" if run.step else run.task


def signature(task: scheduler_pb2.TaskSpec) -> str:
    """The task as a user would call it: ``(text: str, top: int = …) -> list[str]``."""
    parts = [
        f"{each.name}{f': {each.type}' if each.type else ''}{'' if each.required else ' = …'}"
        for each in task.interface.parameters
    ]
    result = task.interface.result_type
    return f"({', '.join(parts)}){f' -> {result}' if result else ''}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A run among its relatives, in the order of a depth-first walk."""

    run: scheduler_pb2.Run
    depth: int
    # Not shown for want of room: children of this run.
    more: bool = False


def groups(runs: Iterable[scheduler_pb2.Run]) -> dict[str, list[scheduler_pb2.Run]]:
    """Child runs by group, oldest first; before them, under "", those without one."""
    found: dict[str, list[scheduler_pb2.Run]] = {"": []}
    for run in sorted(runs, key=lambda run: (epoch(run.created_at), run.name)):
        found.setdefault(run.group, []).append(run)
    return found


def _indented(data: bytes) -> str:
    text = data.decode("utf-8", errors="replace")
    if len(text) > 50 * VALUE_LIMIT:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… and {len(text) - limit:,} characters more"


def _snake(camel: str) -> str:
    return "".join(f"_{c}" if c.isupper() else c.upper() for c in camel).lstrip("_")
