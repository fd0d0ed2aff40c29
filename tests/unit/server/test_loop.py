"""The loop: turns, wakes, defects; and what waits for a commit."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import Any

import pytest

from callmesh_server import loop as loop_module
from callmesh_server.clock import LeapWatch
from callmesh_server.core import actions as do
from callmesh_server.core.world import (
    AppKey,
    DesiredKey,
    Key,
    NodeKey,
    QueueKey,
    RunKey,
    ViewKey,
    World,
)
from callmesh_server.loop import Loop, ServerIds
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb


class Performed:
    """An applier that writes down what it is given."""

    def __init__(self) -> None:
        self.actions: list[do.Action] = []
        self.flushes = 0

    def perform(self, actions: list[do.Action]) -> None:
        self.actions += actions

    def flush(self) -> None:
        self.flushes += 1


class Decisions:
    """Stands in for core: what was decided, and what to answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[Key] = []
        self.broken: set[Key] = set()
        self.event = asyncio.Event()
        monkeypatch.setattr(loop_module, "decide", self.decide)

    def decide(self, _world: World, key: Key, _now: float, _ids: Any) -> list[do.Action]:
        self.keys.append(key)
        self.event.set()
        if key in self.broken:
            raise ZeroDivisionError
        return []

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.keys) < count:
                self.event.clear()
                await self.event.wait()


def test_fences_grow_and_names_are_random() -> None:
    ids = ServerIds(3)
    fences = [ids.next_fence() for _ in range(3)]
    assert [(f.epoch, f.counter) for f in fences] == [(3, 1), (3, 2), (3, 3)]
    assert len({ids.suffix() for _ in range(50)}) == 50


async def test_a_key_marked_twice_is_decided_once_and_the_queue_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decisions, pushed = Decisions(monkeypatch), []
    loop = Loop(World(), Performed(), ServerIds(1), pushed.append)  # type: ignore[arg-type]
    web = AppKey(AppName("p", "d", "web"))
    loop.mark([web, RunKey("a"), web, ViewKey(), QueueKey(), ViewKey(), DesiredKey("n")])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        await decisions.until(3)
        running.cancel()
    assert decisions.keys == [QueueKey(), web, RunKey("a")]
    assert pushed == [ViewKey(), DesiredKey("n")]


async def test_a_wake_comes_in_time_and_the_earliest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decisions = Decisions(monkeypatch)
    loop = Loop(World(), Performed(), ServerIds(1), print)  # type: ignore[arg-type]
    began = time.time()
    loop.wake_at(RunKey("late"), began + 0.08)
    loop.wake_at(RunKey("a"), began + 60)
    loop.wake_at(RunKey("a"), began + 0.03)
    loop.wake_at(RunKey("gone"), began + 0.01)
    loop.unwake(RunKey("gone"))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        await decisions.until(2)
        running.cancel()
    assert decisions.keys == [RunKey("a"), RunKey("late")]
    assert time.time() - began >= 0.08


async def test_a_broken_decision_stops_nobody_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decisions = Decisions(monkeypatch)
    decisions.broken.add(RunKey("bad"))
    loop = Loop(World(), Performed(), ServerIds(1), print)  # type: ignore[arg-type]
    loop.mark([RunKey("bad"), RunKey("good")])
    with caplog.at_level(logging.ERROR):
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(loop.run())
            await decisions.until(3)
            running.cancel()
    assert decisions.keys == [RunKey("bad"), RunKey("good"), RunKey("bad")]
    assert "cannot decide RunKey(name='bad')" in caplog.text


async def test_a_long_queue_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Decisions(monkeypatch)
    performed = Performed()
    loop = Loop(World(), performed, ServerIds(1), print)  # type: ignore[arg-type]
    loop.mark(RunKey(str(n)) for n in range(3 * loop_module.TURN))
    turns = itertools.count()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        while len(decisions.keys) < 3 * loop_module.TURN:
            next(turns)
            await asyncio.sleep(0)
        running.cancel()
    assert next(turns) >= 3
    assert performed.flushes >= 3


class TestCommits:
    """What may only be said once it is on disk."""

    @pytest.fixture
    async def held(self, mesh: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A mesh whose writer waits until `release` is called."""
        spec = pb.TaskEnvironmentSpec(
            name="jobs", version="v1", tasks=[pb.TaskSpec(name="jobs.work", function="work")]
        )
        await mesh.client.call(
            "SchedulerService/Deploy", pb.DeployRequest(task_environments=[spec])
        )
        await mesh.agent.until(lambda: bool(mesh.agent.received))
        writer = mesh.server.parts.database.writer
        waiting: list[Any] = []
        original = writer.write
        monkeypatch.setattr(writer, "write", lambda *a, **k: waiting.append((a, k)))

        def release() -> None:
            monkeypatch.setattr(writer, "write", original)
            for args, more in waiting:
                original(*args, **more)

        mesh.release = release
        return mesh

    async def test_delivery_overlaps_the_commit_and_execution_does_not(self, held: Any) -> None:
        request = pb.RunTaskRequest(submission=pb.Submission(task=pb.TaskRef(name="work")))
        answer = held.tasks.create_task(held.client.call("SchedulerService/RunTask", request))
        await held.agent.until(lambda: bool(held.agent.prepared))
        await asyncio.sleep(0.05)
        assert not any(m.HasField("go") for m in held.agent.received)
        assert not answer.done()
        held.release()
        await held.agent.until(lambda: any(m.HasField("go") for m in held.agent.received))
        assert (await answer).run.name

    async def test_an_end_is_hidden_until_it_is_on_disk(
        self, mesh: Any, held: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held.release()
        held.agent.outcome = lambda order: None
        request = pb.RunTaskRequest(submission=pb.Submission(task=pb.TaskRef(name="work")))
        run = (await held.client.call("SchedulerService/RunTask", request)).run
        await held.agent.until(lambda: run.name in held.agent.running)
        order = held.agent.running[run.name]
        writer = mesh.server.parts.database.writer
        original, waiting = writer.write, []
        monkeypatch.setattr(writer, "write", lambda *a, **k: waiting.append((a, k)))
        value = common_pb2.Value(json=b"1")
        held.agent.report(order, pb.ATTEMPT_PHASE_SUCCEEDED, outputs=[value])
        async with asyncio.timeout(5):
            while not waiting:
                await asyncio.sleep(0.01)
        get = pb.GetRunRequest(name=run.name)
        shown = (await held.client.call("SchedulerService/GetRun", get)).run
        assert shown.phase in (pb.RUN_PHASE_INITIALIZING, pb.RUN_PHASE_RUNNING)
        assert not any(m.HasField("ack") for m in held.agent.received)
        for args, more in waiting:
            original(*args, **more)
        await held.agent.until(lambda: any(m.HasField("ack") for m in held.agent.received))
        shown = (await held.client.call("SchedulerService/GetRun", get)).run
        assert (shown.phase, shown.outputs[0]) == (pb.RUN_PHASE_SUCCEEDED, value)


def test_a_leap_of_the_wall_clock_is_told_once() -> None:
    times = {"wall": 1_000.0, "monotonic": 5.0}
    watch = LeapWatch(lambda: times["wall"], lambda: times["monotonic"])
    times.update(wall=1_060.5, monotonic=65.0)
    assert watch.leap() == 0
    times.update(wall=1_060.5 + 3_600, monotonic=65.0)
    assert watch.leap() == pytest.approx(3_600.5)
    assert watch.leap() == 0


async def test_nodes_get_a_full_lease_when_the_machine_has_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decisions, renewals = Decisions(monkeypatch), []
    times = {"wall": 0.0}
    watch = LeapWatch(lambda: times["wall"], lambda: 0.0)
    loop = Loop(World(), Performed(), ServerIds(1), print, lambda: renewals.append(1), watch)  # type: ignore[arg-type]
    times["wall"] = 28_800.0
    loop.wake_at(NodeKey("local"), time.time())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        await decisions.until(1)
        running.cancel()
    assert renewals == [1]


async def test_nodes_get_a_full_lease_when_the_server_was_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_module, "BEAT", 0.02)
    monkeypatch.setattr(loop_module, "STANDSTILL", 0.2)
    decisions, renewals = Decisions(monkeypatch), []
    loop = Loop(World(), Performed(), ServerIds(1), print, lambda: renewals.append(1))  # type: ignore[arg-type]
    loop.wake_at(NodeKey("local"), time.time() + 60)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        await asyncio.sleep(0.05)
        renewals.clear()
        # What a SIGSTOP is to the event loop.
        time.sleep(0.5)
        await asyncio.sleep(0.05)
        running.cancel()
    assert renewals
    assert decisions.keys == []
