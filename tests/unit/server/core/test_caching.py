"""What a result is kept under."""

from __future__ import annotations

from callmesh_server.core import caching
from callmeshpb.v1 import common_pb2, scheduler_pb2


def value(text: str) -> common_pb2.Value:
    return common_pb2.Value(json=text.encode())


def task(version: str = "1", *ignored: str) -> scheduler_pb2.Task:
    interface = scheduler_pb2.TaskInterface(
        parameters=[
            scheduler_pb2.TaskParameter(name="x", required=True),
            scheduler_pb2.TaskParameter(name="y", default_value=value("2")),
        ]
    )
    policy = scheduler_pb2.CachePolicy(version=version, ignored_inputs=ignored)
    return scheduler_pb2.Task(
        environment=scheduler_pb2.TaskEnvironmentSpec(project="p", domain="d"),
        spec=scheduler_pb2.TaskSpec(name="e.t", interface=interface, cache=policy),
    )


def key(found: scheduler_pb2.Task, **inputs: str) -> str:
    given = {name: value(text) for name, text in inputs.items()}
    return caching.key_of(scheduler_pb2.Submission(inputs=given), found)


def test_equal_inputs_have_one_key() -> None:
    base = key(task(), x='{"a": 1, "b": 2}')
    assert base == key(task(), x='{"b":2,"a":1}', y="2")
    others = (key(task(), x='{"a": 1}'), key(task(), x='{"a": 1, "b": 2}', y="3"))
    assert base not in (*others, key(task("2"), x='{"a": 1, "b": 2}'))


def test_ignored_inputs_make_no_difference() -> None:
    assert key(task("1", "y"), x="1", y="5") == key(task("1", "y"), x="1", y="6")


def test_without_a_version_there_is_no_key_and_the_submission_decides() -> None:
    assert key(task(""), x="1") == ""
    off = scheduler_pb2.Submission(cache=scheduler_pb2.CachePolicy())
    assert caching.key_of(off, task()) == ""


def test_a_result_ages() -> None:
    run = scheduler_pb2.Run(phase=scheduler_pb2.RUN_PHASE_SUCCEEDED)
    run.ended_at.FromSeconds(100)
    policy = scheduler_pb2.CachePolicy(version="1")
    assert caching.is_fresh(run, policy, 1e9)
    policy.max_age.FromSeconds(10)
    assert caching.is_fresh(run, policy, 110)
    assert not caching.is_fresh(run, policy, 111)
    run.phase = scheduler_pb2.RUN_PHASE_FAILED
    assert not caching.is_fresh(run, policy, 100)
