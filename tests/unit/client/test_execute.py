"""The worker process, spoken to in frames by a test that plays the node's agent."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmesh_wire.frames import BlockingFrames
from callmeshpb.v1 import (
    common_pb2,
    node_pb2,
    scheduler_pb2,
    workload_pb2,
)

MODULE = """
import asyncio, os, time
import callmesh as flyte

env = flyte.TaskEnvironment(name="work")
class Broken(Exception):
    def __init__(self, a, b):
        super().__init__(a)

@env.task
def add(x: int, y: int = 1) -> int:
    print("adding", x, y)
    return x + y

@env.task
async def add_async(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1

loops = []
@env.task
async def loop_is_kept() -> bool:
    loops.append(asyncio.get_running_loop())
    return all(each is loops[0] for each in loops)

def inner():
    raise ValueError("no good")

@env.task
def fails() -> int:
    inner()

@env.task
def never_again() -> int:
    raise flyte.errors.NonRecoverableError("for good")

@env.task
def raises_unpicklable() -> int:
    raise Broken(1, 2)

@env.task
def leaves() -> int:
    raise SystemExit(3)

@env.task
def unsendable():
    return (x for x in ())

@env.task
def variable(name: str) -> str:
    return os.environ.get(name, "unset")

@env.task
def who() -> str:
    c = flyte.ctx()
    return f"{c.action.run_name} {c.attempt_number}"

@env.task
def slow(path: str) -> str:
    try:
        open(path, "w").close()
        time.sleep(30)
    finally:
        open(path + ".finally", "w").close()

@env.task
async def slow_async(path: str) -> str:
    try:
        open(path, "w").close()
        await asyncio.sleep(30)
    finally:
        open(path + ".finally", "w").close()

def _in_thread():
    time.sleep(30)

@env.task
async def slow_thread(path: str) -> str:
    try:
        open(path, "w").close()
        await asyncio.to_thread(_in_thread)
    finally:
        open(path + ".finally", "w").close()

@env.task
def until(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"
"""


class FakeAgent:
    """The agent's end of the workload socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counter = 0
        self.listen()

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.listener.settimeout(20)

    def accept(self) -> workload_pb2.WorkloadHello:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(20)
        self.frames = BlockingFrames(self.connection, workload_pb2.WorkloadMessage)
        return self.receive().hello

    def die(self) -> None:
        self.listener.close()
        self.path.unlink()
        self.connection.close()

    def receive(self) -> workload_pb2.WorkloadMessage:
        message = self.frames.receive()
        assert message is not None
        return message

    def prepare(self, function: str, **inputs: object) -> node_pb2.AttemptOrder:
        self.counter += 1
        order = node_pb2.AttemptOrder(
            run=f"run-{self.counter}",
            number=1,
            fence=common_pb2.Fence(epoch=1, counter=self.counter),
            project="default",
            domain="development",
        )
        order.task.spec.name = f"work.{function}"
        order.task.spec.function = function
        for name, value in inputs.items():
            order.inputs[name].json = json.dumps(value).encode()
        self.send_prepare(order)
        return order

    def send_prepare(self, order: node_pb2.AttemptOrder) -> None:
        self.frames.send(workload_pb2.WorkloadReply(prepare=order))

    def go(self, order: node_pb2.AttemptOrder) -> node_pb2.AttemptReport:
        self.frames.send(
            workload_pb2.WorkloadReply(go=node_pb2.AttemptGo(run=order.run, fence=order.fence))
        )
        report = self.receive().attempt
        assert report.phase == scheduler_pb2.ATTEMPT_PHASE_RUNNING
        assert report.run == order.run
        return report

    def ack(self, order: node_pb2.AttemptOrder) -> None:
        self.frames.send(
            workload_pb2.WorkloadReply(ack=node_pb2.AttemptAck(run=order.run, fence=order.fence))
        )

    def run(self, function: str, **inputs: object) -> node_pb2.AttemptReport:
        order = self.prepare(function, **inputs)
        self.go(order)
        report = self.receive().attempt
        self.ack(order)
        return report


class Worker:
    def __init__(self, folder: Path, module: str = MODULE) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        (folder / "code").mkdir()
        (folder / "code" / "user_module.py").write_text(module)
        (folder / "spool").mkdir()
        self.socket = folder / "workload.sock"

    def start(self) -> subprocess.Popen[bytes]:
        start = workload_pb2.WorkloadStart(directory=str(self.folder / "code"))
        start.worker.worker_id = "w1"
        start.worker.code.module = "user_module"
        start.worker.code.attribute = "env"
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "callmesh.execute"],
                env={
                    "PATH": os.environ["PATH"],
                    "CALLMESH_START": base64.b64encode(start.SerializeToString()).decode(),
                    "CALLMESH_WORKLOAD_SOCKET": str(self.socket),
                    "CALLMESH_WORKER_ID": "w1",
                    "CALLMESH_SPOOL": str(self.folder / "spool"),
                    "PYTHONUNBUFFERED": "1",
                },
                cwd=self.folder / "code",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


@pytest.fixture
def agent(worker: Worker) -> FakeAgent:
    return FakeAgent(worker.socket)


@pytest.fixture
def process(worker: Worker, agent: FakeAgent) -> Iterator[subprocess.Popen[bytes]]:
    process = worker.start()
    hello = agent.accept()
    assert hello.worker_id == "w1"
    assert not hello.HasField("attempt")
    yield process
    process.kill()
    process.wait()


def value(report: node_pb2.AttemptReport) -> object:
    assert report.phase == scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED, report
    return json.loads(report.outputs[0].json)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)


@pytest.mark.usefixtures("process")
def test_sync_and_async_functions_return_their_values(agent: FakeAgent) -> None:
    report = agent.run("add", x=2)
    assert value(report) == 3
    assert report.worker == "w1"
    assert report.started_at.ToNanoseconds() <= report.ended_at.ToNanoseconds()
    assert value(agent.run("add_async", x=2)) == 3
    assert value(agent.run("loop_is_kept")) is True
    assert value(agent.run("loop_is_kept")) is True


@pytest.mark.usefixtures("process")
def test_the_log_offsets_are_those_of_the_attempt(agent: FakeAgent, worker: Worker) -> None:
    agent.run("add", x=1)
    report = agent.run("add", x=5, y=6)
    text = worker.log.read_bytes()[report.log_start : report.log_end]
    assert text == b"adding 5 6\n"


@pytest.mark.usefixtures("process")
def test_a_failure_tells_the_users_frames_only(agent: FakeAgent) -> None:
    report = agent.run("fails")
    assert report.phase == scheduler_pb2.ATTEMPT_PHASE_FAILED
    assert (report.error.type, report.error.message) == ("ValueError", "no good")
    assert "in inner" in report.error.traceback
    assert "in fails" in report.error.traceback
    assert "callmesh" not in report.error.traceback
    assert not report.error.non_recoverable
    assert report.error.exception_pickle


@pytest.mark.usefixtures("process")
def test_failures_of_every_kind_are_told_apart(agent: FakeAgent) -> None:
    assert agent.run("never_again").error.non_recoverable
    unpicklable = agent.run("raises_unpicklable").error
    assert (unpicklable.type, unpicklable.exception_pickle) == ("Broken", b"")
    assert agent.run("leaves").error.type == "SystemExit"
    unsendable = agent.run("unsendable").error
    assert unsendable.type in ("ResultNotSerializable", "RuntimeDataValidationError")
    assert "generator" in unsendable.message
    missing = agent.run("nowhere").error
    assert "no task `work.nowhere`" in missing.message
    wrong = agent.run("add", x="text")
    assert wrong.phase == scheduler_pb2.ATTEMPT_PHASE_FAILED
    assert value(agent.run("add", x=1)) == 2


@pytest.mark.usefixtures("process")
def test_an_orders_variables_hold_for_its_attempt_only(agent: FakeAgent) -> None:
    order = agent.prepare("variable", name="SHADE")
    order.env_vars["SHADE"] = "green"
    agent.send_prepare(order)
    agent.go(order)
    assert value(agent.receive().attempt) == "green"
    agent.ack(order)
    assert value(agent.run("variable", name="SHADE")) == "unset"


@pytest.mark.usefixtures("process")
def test_user_code_knows_its_run(agent: FakeAgent) -> None:
    assert value(agent.run("who")) == "run-1 1"


@pytest.mark.parametrize("function", ["slow", "slow_async", "slow_thread"])
def test_term_runs_finally_blocks(
    agent: FakeAgent, process: subprocess.Popen[bytes], tmp_path: Path, function: str
) -> None:
    started = tmp_path / "started"
    agent.go(agent.prepare(function, path=str(started)))
    wait_for(started, process)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
    assert (tmp_path / "started.finally").exists()


def test_term_ends_an_idle_worker(agent: FakeAgent, process: subprocess.Popen[bytes]) -> None:
    agent.run("add", x=1)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_a_worker_tells_the_next_agent_what_it_runs(
    agent: FakeAgent, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    order = agent.prepare("until", path=str(gate))
    agent.go(order)
    agent.die()
    agent.listen()
    hello = agent.accept()
    assert hello.attempt.run == order.run
    assert hello.attempt.phase == scheduler_pb2.ATTEMPT_PHASE_RUNNING
    assert hello.attempt.fence == order.fence
    gate.touch()
    assert value(agent.receive().attempt) == "done"
    assert process.poll() is None


@pytest.mark.usefixtures("process")
def test_a_result_is_said_again_until_acknowledged(agent: FakeAgent) -> None:
    order = agent.prepare("add", x=1)
    agent.go(order)
    assert value(agent.receive().attempt) == 2
    agent.die()
    agent.listen()
    hello = agent.accept()
    assert value(hello.attempt) == 2
    agent.receive()  # said once more: the worker cannot know that the hello had it
    agent.ack(order)
    assert value(agent.run("add", x=2)) == 3
    # That it answers shows that it has read what was acknowledged before.
    last = agent.prepare("add", x=3)
    agent.go(last)
    agent.die()
    agent.listen()
    assert agent.accept().attempt.run == last.run


@pytest.mark.slow
def test_a_result_that_nobody_takes_is_spooled(
    agent: FakeAgent, process: subprocess.Popen[bytes], worker: Worker, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    order = agent.prepare("until", path=str(gate))
    agent.go(order)
    agent.die()
    gate.touch()
    spooled = tmp_path / "spool" / "run-1.1.1.report"
    wait_for(spooled, process)
    assert value(node_pb2.AttemptReport.FromString(spooled.read_bytes())) == "done"
    agent.listen()
    assert value(agent.accept().attempt) == "done"
    agent.ack(order)
    while spooled.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)


def test_a_module_that_cannot_be_imported_fails_the_attempt(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "import nonexistent_module\n")
    agent = FakeAgent(worker.socket)
    process = worker.start()
    try:
        agent.accept()
        error = agent.run("add", x=1).error
        assert error.type == "ModuleNotFoundError"
        assert "user_module.py" in error.traceback
    finally:
        process.kill()
        process.wait()
