"""Runs on a mesh: submitted, waited for, lost and found again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import callmesh as flyte
from callmesh import _runtime, errors, remote
from callmesh._runtime import AttemptContext
from callmeshpb.v1 import common_pb2, scheduler_pb2

env = flyte.TaskEnvironment(name="runs")
sibling = flyte.TaskEnvironment(name="sibling")


@env.task
def double(x: int) -> int:
    return x * 2


@env.task
async def pair(x: int) -> tuple[int, str]:
    return x, "a"


@sibling.task
async def near() -> None: ...


def succeeded(*values: bytes, is_tuple: bool = False) -> scheduler_pb2.Run:
    return scheduler_pb2.Run(
        phase=scheduler_pb2.RUN_PHASE_SUCCEEDED,
        outputs=[common_pb2.Value(json=value) for value in values],
        outputs_is_tuple=is_tuple,
    )


def doubling(submission: scheduler_pb2.Submission) -> scheduler_pb2.Run:
    return succeeded(str(int(submission.inputs["x"].json) * 2).encode())


def failed(_: object) -> scheduler_pb2.Run:
    failure = common_pb2.Failure(type="ValueError", message="bad", traceback="there")
    return scheduler_pb2.Run(phase=scheduler_pb2.RUN_PHASE_FAILED, error=failure)


def in_run(**parts: Any) -> Any:
    attempt = AttemptContext(run="parent", number=1, task="runs.outer", version="v", **parts)
    return _runtime.entered(attempt)


def test_a_local_task_is_registered_with_its_code_and_run(mesh: Any) -> None:
    mesh.outcome = doubling
    run = flyte.run(double, 21)
    assert run.outputs() == (42,)
    assert (run.phase, run.status, run.done()) == ("succeeded", "succeeded", True)
    (request,) = mesh.deploys
    assert request.ephemeral
    assert [each.name for each in request.task_environments] == ["runs", "sibling"]
    (submission,) = mesh.submissions.values()
    assert (submission.task.name, submission.task.version) == ("runs.double", request.version)


async def test_what_is_registered_is_not_sent_again(mesh: Any) -> None:
    mesh.outcome = doubling
    runs = await asyncio.gather(*(flyte.run.aio(double, x) for x in range(3)))
    assert [(await run.outputs.aio())[0] for run in runs] == [0, 2, 4]
    first = len(mesh.deploys)
    flyte.run(double, 5)
    assert len(mesh.deploys) == first
    assert mesh.calls.count("SchedulerService/Submit") == 1


def test_a_mesh_that_forgot_the_task_is_told_again(mesh: Any) -> None:
    mesh.outcome = doubling
    flyte.run(double, 1)
    mesh.tasks.clear()
    assert flyte.run(double, 2).outputs() == (4,)
    assert len(mesh.deploys) == 2


def test_a_run_takes_a_context(mesh: Any) -> None:
    runner = flyte.with_runcontext(
        name="mine", env_vars={"A": "1"}, custom_context={"k": "v"}, version="v9", project="p"
    )
    assert runner.run(double.override(retries=3, env_vars={"B": "2"}), x=1).name == "mine"
    (submission,) = mesh.submissions.values()
    assert submission.run_name == "mine"
    assert dict(submission.run_env_vars) == {"A": "1"}
    assert dict(submission.env_vars) == {"B": "2"}
    assert dict(submission.custom_context) == {"k": "v"}
    assert (submission.task.version, submission.task.scope.project) == ("v9", "p")
    assert submission.retries.count == 3


def test_a_failure_is_raised_by_its_outputs_and_not_by_waiting(mesh: Any) -> None:
    mesh.outcome = failed
    run = flyte.run(double, 1)
    run.wait()
    assert run.phase == "failed"
    with pytest.raises(errors.RuntimeUserError, match=r"ValueError: bad[\s\S]*there") as caught:
        run.outputs()
    assert caught.value.code == "ValueError"
    with pytest.raises(errors.TaskFailedError):
        run.raise_for_status()


def test_arguments_are_checked_before_anything_is_sent(mesh: Any) -> None:
    with pytest.raises(errors.InputsError, match="`x` must be `int`"):
        flyte.run(double, "1")
    assert mesh.calls == []


def test_a_tuple_comes_back_as_several_outputs(mesh: Any) -> None:
    mesh.outcome = lambda _: succeeded(b"1", b'"a"', is_tuple=True)
    outputs = flyte.run(pair, 1).outputs()
    assert (outputs, outputs.o0, outputs.o1) == ((1, "a"), 1, "a")
    assert flyte.run(pair, 1).result() == (1, "a")


def test_a_run_outlives_the_connection(mesh: Any) -> None:
    mesh.outcome = doubling
    mesh.open.clear()
    run = flyte.run(double, 4)
    mesh.stop()
    mesh.open.set()
    back = threading.Timer(0.3, mesh.start)
    back.start()
    assert run.outputs() == (8,)
    back.join()
    assert len(mesh.submissions) == 1


def test_waiting_ends_at_the_callers_deadline_only(mesh: Any) -> None:
    mesh.open.clear()
    run = flyte.run(double, 1)
    with pytest.raises(errors.DeadlineError, match=r"has not ended within 0\.2 s: it is queued"):
        run.wait(timeout=0.2)
    mesh.open.set()
    run.wait(timeout=5)
    assert run.done()


def test_updates_come_both_ways(mesh: Any) -> None:
    run = flyte.run(double, 1)
    assert [update.status for update in run.watch()][-1] == "succeeded"

    async def stream() -> list[str]:
        return [update.status async for update in remote.Run.get(run.name).stream()]

    assert asyncio.run(stream()) == ["succeeded"]


def test_a_run_is_aborted(mesh: Any) -> None:
    mesh.open.clear()
    run = flyte.run(double, 1)
    run.abort("enough")
    assert mesh.aborted == [run.name]
    assert run.phase == "aborted"
    with pytest.raises(errors.ActionAbortedError):
        run.outputs()


def test_runs_are_found_and_listed(mesh: Any) -> None:
    for x in range(3):
        flyte.run(double, x).wait()
    assert remote.Run.get("run-1").phase == "succeeded"
    assert [run.name for run in remote.Run.listall(limit=2)] == ["run-1", "run-2"]
    assert list(remote.Run.listall(in_phase="failed")) == []
    with pytest.raises(errors.RunNotFoundError, match="there is no run `nope`"):
        remote.Run.get("nope")


def test_a_deployed_task_is_fetched_plain(mesh: Any) -> None:
    flyte.deploy(env, version="v1")
    mesh.outcome = doubling
    task = remote.TaskDetails.fetch("double", project="default", domain="development")
    assert (task.version, task.name, task.required_args) == ("v1", "runs.double", ("x",))
    assert flyte.run(task, x=2).outputs() == (4,)
    assert flyte.run(remote.Task.get("runs.double", auto_version="latest"), 3).outputs() == (6,)
    with pytest.raises(errors.InputsError, match="`x` is missing; argument `y` is unknown"):
        flyte.run(task, y=1)


async def test_a_deployed_task_is_fetched_awaited(mesh: Any) -> None:
    await flyte.deploy.aio(env)
    task = await remote.TaskDetails.fetch(name="double")
    assert (await flyte.run.aio(task, x=1)).id.startswith("run-")
    with pytest.raises(errors.RemoteTaskNotFoundError, match="in version `v7` is not deployed"):
        await remote.TaskDetails.fetch(name="nope", version="v7")
    with pytest.raises(errors.RemoteTaskUsageError, match="cannot be executed locally"):
        await task(x=1)


async def test_in_a_run_a_call_is_a_child(mesh: Any) -> None:
    mesh.outcome = doubling
    flyte.deploy(env)
    with in_run(traceparent="tp"), flyte.group("g"):
        assert await double.aio(4) == 8
    (submission,) = mesh.submissions.values()
    assert (submission.parent, submission.group) == ("parent", "g")
    assert (submission.task.version, submission.traceparent) == ("v", "tp")


def test_in_a_run_a_sync_call_blocks_for_its_child(mesh: Any) -> None:
    mesh.outcome = doubling
    flyte.deploy(env)
    with in_run():
        assert double(5) == 10
        assert list(flyte.map(double, range(50))) == [2 * x for x in range(50)]
    assert {each.group for each in mesh.submissions.values()} == {"", "runs.double"}


async def test_map_keeps_order_and_yields_errors(mesh: Any) -> None:
    flyte.deploy(env)
    mesh.outcome = lambda s: failed(s) if s.inputs["x"].json == b"1" else doubling(s)
    with in_run():
        found = [value async for value in flyte.map.aio(double, range(3), concurrency=2)]
        assert (found[0], found[2]) == (0, 4)
        assert isinstance(found[1], errors.TaskFailedError)
        with pytest.raises(errors.TaskFailedError):
            async for _ in flyte.map.aio(double, range(3), return_exceptions=False):
                pass


async def test_a_child_that_is_cancelled_is_aborted(mesh: Any) -> None:
    flyte.deploy(env)
    mesh.open.clear()
    with in_run():
        child = asyncio.gather(double.aio(1))
        while not mesh.runs:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        child.cancel()
        while not mesh.aborted:
            await asyncio.sleep(0.01)
    assert mesh.aborted == ["run-1"]


async def test_a_child_that_is_not_deployed_is_named(mesh: Any) -> None:
    missing = pytest.raises(errors.RemoteTaskNotFoundError, match="add its environment to")
    with in_run(), missing:
        await near()


def test_large_arguments_go_by_reference(mesh: Any) -> None:
    def take(x: bytes) -> int: ...

    task = env.task(take)
    flyte.run(task, b"x" * (11 << 20)).wait()
    (submission,) = mesh.submissions.values()
    assert submission.inputs["x"].ref.digest in mesh.blobs
