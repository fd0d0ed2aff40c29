"""What `describe` tells about an object, line by line. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence

from callmesh.cli import output, shapes, spans
from callmesh.values import load_json
from callmeshpb.v1 import common_pb2, scheduler_pb2

_INDENT = "  "
_AUTH = "`requires_auth` is kept, and not enforced by the mesh yet"
_TABLED = {
    "id": "ID",
    "node": "NODE",
    "state": "STATE",
    "where": "ADDRESS",
    "pid": "PID",
    "restarts": "RESTARTS",
}
_ATTEMPTS = {"number": "NO", "phase": "PHASE", "node": "NODE", "worker": "WORKER", "took": "TOOK"}


def app(found: scheduler_pb2.App, now: float) -> list[str]:
    """An app: where it is, how it does, why it waits, what its instances last said."""
    spec = found.spec
    revision = str(found.revision)
    if found.serving_revision != found.revision:
        serving = found.serving_revision or "none"
        revision += f" (serving: {serving})"
    lines = output.fields(
        [
            ("app", spec.name),
            ("scope", _scope(spec.project, spec.domain)),
            ("state", _app_state(found)),
            ("about", spec.description),
            ("endpoint", found.endpoint),
            ("url", found.url),
            ("domain", _hosted(found, spec.custom_domain)),
            ("links", ", ".join(f"{each.title}: {each.path}" for each in spec.links)),
            ("revision", revision),
            ("version", spec.version),
            ("replicas", _replicas(found)),
            ("runs", _program(spec)),
            ("timeouts", _app_timeouts(spec.timeouts)),
            ("depends on", ", ".join(spec.depends_on)),
            ("auth", _AUTH if spec.requires_auth else ""),
            ("deployed", f"{spans.since(found, 'updated_at', now)} ago"),
        ]
    )
    lines += conditions(found.conditions)
    lines += _instances(found.instances)
    return lines


def run(found: scheduler_pb2.Run, children: Sequence[scheduler_pb2.Run], now: float) -> list[str]:
    """A run: why it waits or how it ended, its attempts and its children."""
    lines = output.fields(
        [
            ("run", found.name),
            ("scope", _scope(found.project, found.domain)),
            ("task", f"{found.task}  version {found.task_version}".rstrip()),
            ("phase", output.state(shapes.run_phase(found))),
            ("why", _why(found)),
            ("worker", workers([found])),
            ("cached from", found.cached_from),
            ("parent", found.parent),
            ("group", found.group),
            ("trace", found.trace_id),
            ("url", found.url),
            ("created", f"{spans.since(found, 'created_at', now)} ago"),
            ("took", spans.between(found, "created_at", "ended_at")),
            ("inputs", ", ".join(f"{k}={_short(v)}" for k, v in sorted(found.inputs.items()))),
            ("outputs", _outputs(found)),
        ]
    )
    if found.HasField("error"):
        lines += ["", "Error", *failure(found.error)]
    if found.attempts:
        lines += ["", "Attempts", *_indented(output.table(_attempt_rows(found, now), _ATTEMPTS))]
        lines += [line for each in found.attempts[:-1] for line in _attempt_error(each)]
    if children:
        rows = [
            {
                "name": each.name,
                "task": f"{each.step} (traced)" if each.step else each.task,
                "phase": shapes.run_phase(each),
            }
            for each in children
        ]
        columns = {"name": "NAME", "task": "TASK", "phase": "PHASE"}
        lines += ["", "Child runs", *_indented(output.table(rows, columns))]
    return lines


def workers(runs: Iterable[scheduler_pb2.Run]) -> str:
    """How the newest worker of some runs was started, and why; "" where none was.

    A fork takes milliseconds, and is what a worker starts by where the module
    leaves nothing open that a fork would share.
    """
    for run in runs:
        for each in reversed(run.attempts):
            start = shapes.worker_start(each)
            if start:
                return f"{start}: {each.spawned_because}" if each.spawned_because else start
    return ""


def task(found: scheduler_pb2.Task, runs: Iterable[scheduler_pb2.Run], now: float) -> list[str]:
    """A task: how it is called, how it is retried, what it needs, how its workers start.

    ``runs`` are its last ones, newest first.
    """
    spec, environment = found.spec, found.environment
    code = environment.code
    lines = output.fields(
        [
            ("task", spec.name),
            ("short name", spec.short_name),
            ("scope", _scope(environment.project, environment.domain)),
            ("version", environment.version),
            ("about", spec.docs),
            ("returns", spec.interface.result_type),
            ("retries", _retries(spec.retries)),
            ("timeouts", _timeouts(spec.timeouts)),
            ("cache", _cache(spec.cache)),
            ("depends on", ", ".join(environment.depends_on)),
            ("code", f"{', '.join((code.module, *code.imports))}:{spec.function}"),
            ("workers", workers(runs) or "none of its last runs has started one"),
            ("deployed", f"{spans.since(found, 'created_at', now)} ago"),
        ]
    )
    if spec.interface.parameters:
        rows = [
            {
                "name": f"--{each.name}",
                "type": each.type or "any",
                "default": "required" if each.required else _short(each.default_value),
            }
            for each in spec.interface.parameters
        ]
        columns = {"name": "PARAMETER", "type": "TYPE", "default": "DEFAULT"}
        lines += ["", "Parameters", *_indented(output.table(rows, columns))]
    return lines


def failure(found: common_pb2.Failure) -> list[str]:
    """Why user code failed: the traceback where there is one, else the message."""
    if found.traceback:
        return [f"{_INDENT}{line}" for line in found.traceback.rstrip().splitlines()]
    return output.wrapped(f"{found.type}: {found.message}", _INDENT)


def last_words(found: scheduler_pb2.App) -> list[str]:
    """What the instances that do not serve said last: for an error."""
    lines = []
    for each in found.instances:
        if each.status.state != scheduler_pb2.INSTANCE_STATE_READY:
            lines += _instance_story(each)
    return lines


def conditions(found: Iterable[common_pb2.Condition]) -> list[str]:
    """An object's conditions under their heading; nothing where there are none."""
    lines = ["", "Conditions"]
    for each in found:
        status = shapes.condition_status(each)
        lines.append(f"{_INDENT}{each.type:<18}{output.state(status):<8} {each.reason}".rstrip())
        said, *quoted = each.message.splitlines() or [""]
        lines += output.wrapped(said, _INDENT * 3) if said else []
        lines += [f"{_INDENT * 3}| {line}" for line in quoted]
    return lines if len(lines) > 2 else []


def _instances(found: Sequence[scheduler_pb2.Instance]) -> list[str]:
    if not found:
        return ["", "No instances"]
    rows = [
        {
            **shapes.instance(each),
            "where": f"{each.status.address}:{each.status.port}" if each.status.port else "",
            "pid": each.status.pid or "",
        }
        for each in found
    ]
    lines = ["", "Instances", *_indented(output.table(rows, _TABLED))]
    for each in found:
        lines += _instance_story(each)
    return lines


def _instance_story(found: scheduler_pb2.Instance) -> list[str]:
    status = found.status
    exposed = "listens beyond loopback by its own choice" if status.exposed else ""
    story = output.fields(
        [("why", status.message), ("last exit", status.last_exit), ("note", exposed)], _INDENT * 2
    )
    if status.log_tail:
        story.append(f"{_INDENT * 2}last lines it wrote")
        story += [f"{_INDENT * 3}| {line}" for line in status.log_tail]
    return ["", f"{_INDENT}{found.id}", *story] if story else []


def _why(found: scheduler_pb2.Run) -> str:
    """Why it waits or ended; nothing where the error below says the same."""
    told = found.error.message.split("\n", 1)[0]
    return "" if told and told in found.message else found.message


def _attempt_rows(found: scheduler_pb2.Run, now: float) -> list[dict[str, object]]:
    return [
        {
            "number": each.number,
            "phase": shapes.attempt(each)["phase"],
            "node": each.node,
            "worker": each.worker,
            "took": spans.between(each, "started_at", "ended_at")
            or spans.since(each, "started_at", now),
        }
        for each in found.attempts
    ]


def _attempt_error(found: scheduler_pb2.Attempt) -> list[str]:
    if not found.HasField("error"):
        return []
    return output.wrapped(
        f"attempt {found.number}: {found.error.type}: {found.error.message}", _INDENT
    )


def _replicas(found: scheduler_pb2.App) -> str:
    wanted, ready = shapes.wanted_replicas(found), shapes.ready_replicas(found)
    return f"{ready} of {wanted} ready"


def _app_state(found: scheduler_pb2.App) -> str:
    text = shapes.app_state(found)
    serves = 0 < found.serving_revision < found.revision
    if found.state == scheduler_pb2.APP_STATE_FAILED and serves:
        return f"{output.state(text)}: revision {found.serving_revision} goes on serving"
    return output.state(text)


def _hosted(found: scheduler_pb2.App, host: str) -> str:
    """Where a browser calls the app by its further host name."""
    port = found.url.rpartition(":")[2]
    return f"http://{host}:{port}" if host and port.isdigit() else host


def _app_timeouts(limits: scheduler_pb2.AppTimeouts) -> str:
    names = [name for name in ("request", "startup", "drain") if limits.HasField(name)]
    return ", ".join(
        f"{name} {spans.span(getattr(limits, name).ToTimedelta().total_seconds())}"
        for name in names
    )


def _program(spec: scheduler_pb2.AppSpec) -> str:
    if spec.kind == scheduler_pb2.APP_KIND_COMMAND:
        return shlex.join([*spec.command, *spec.args])
    return f"{spec.code.module}:{spec.code.attribute}"


def _scope(project: str, domain: str) -> str:
    return f"project {project}, domain {domain}"


def _outputs(found: scheduler_pb2.Run) -> str:
    return ", ".join(_short(each) for each in found.outputs)


def _short(value: common_pb2.Value) -> str:
    text = json.dumps(load_json(value), ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _retries(policy: scheduler_pb2.RetryPolicy) -> str:
    if not policy.count:
        return "none"
    text = f"{policy.count} after the first attempt"
    base = policy.base.ToTimedelta().total_seconds()
    return f"{text}, {base:g} s apart, each {policy.factor or 1:g} times longer" if base else text


def _cache(policy: scheduler_pb2.CachePolicy) -> str:
    """What makes a result usable again; "" where none is."""
    if not policy.version:
        return ""
    parts = [f"version {policy.version[:12]}"]
    if policy.ignored_inputs:
        parts.append(f"whatever {', '.join(policy.ignored_inputs)} are")
    if policy.HasField("max_age"):
        parts.append(f"for {policy.max_age.ToTimedelta().total_seconds():g} s")
    return ", ".join(parts)


def _timeouts(found: scheduler_pb2.TaskTimeouts) -> str:
    said = [
        f"{name.replace('_', ' ')} {spans.span(getattr(found, name).ToTimedelta().total_seconds())}"
        for name in ("max_runtime", "max_queued_time", "deadline")
        if found.HasField(name)
    ]
    return ", ".join(said)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"{_INDENT}{line}" for line in lines]
