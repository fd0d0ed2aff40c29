"""What a result is kept under, so that an equal call need not execute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from callmesh_server.core.times import seconds, span
from callmeshpb.v1 import scheduler_pb2
from callmeshpb.v1.common_pb2 import Value
from callmeshpb.v1.scheduler_pb2 import CachePolicy, Run, Submission, Task

# JSON over this is compared as it came, without putting its keys in order.
MAX_ORDERED = 1 << 20


def key_of(submission: Submission, task: Task) -> str:
    """The key of a submission's result: 64 hex digits; "" where it is not kept.

    It is made of scope, task, the policy's version, and the inputs without the
    ignored ones; an input that is left out is its default.
    """
    policy = policy_of(submission, task)
    if not policy.version:
        return ""
    environment = task.environment
    found = hashlib.sha256()
    for part in (environment.project, environment.domain, task.spec.name, policy.version):
        _add(found, part.encode())
    for name, value in sorted(_inputs(submission.inputs, task)):
        if name not in policy.ignored_inputs:
            _add(found, name.encode())
            _add(found, _content(value))
    return found.hexdigest()


def policy_of(submission: Submission, task: Task) -> CachePolicy:
    """The submission's policy, or its task's."""
    return submission.cache if submission.HasField("cache") else task.spec.cache


def is_result(run: Run) -> bool:
    """The run's own result is the one to be kept under its key."""
    is_own = bool(run.cache_key) and not run.cached_from
    return is_own and run.phase == scheduler_pb2.RUN_PHASE_SUCCEEDED


def is_fresh(run: Run, policy: CachePolicy, now: float) -> bool:
    """An ended run's result may stand for another's."""
    if run.phase != scheduler_pb2.RUN_PHASE_SUCCEEDED:
        return False
    if not policy.HasField("max_age"):
        return True
    return now - seconds(run.ended_at) <= span(policy.max_age)


def _inputs(given: Mapping[str, Value], task: Task) -> Iterator[tuple[str, Value]]:
    yield from given.items()
    for each in task.spec.interface.parameters:
        if each.name not in given and each.HasField("default_value"):
            yield each.name, each.default_value


def _content(value: Value) -> bytes:
    kind = value.WhichOneof("kind")
    if kind == "ref":
        return f"{value.ref.media}:{value.ref.digest}".encode()
    if kind != "json":
        return b"pickle:" + value.pickle
    if len(value.json) <= MAX_ORDERED:
        try:
            return b"json:" + json.dumps(json.loads(value.json), sort_keys=True).encode()
        except (ValueError, RecursionError):
            pass  # the worker will say what is wrong with it
    return b"json:" + value.json


def _add(found: hashlib._Hash, part: bytes) -> None:
    # With its length: two parts are never one.
    found.update(len(part).to_bytes(8, "big"))
    found.update(part)
