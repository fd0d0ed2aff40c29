"""Calls through the workload socket, against an agent that is a function of the test's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callmesh import _node
from callmesh_wire import errors, frames
from callmeshpb.v1 import scheduler_pb2, workload_pb2

Reply = workload_pb2.WorkloadCallReply
Answer = Callable[
    [workload_pb2.WorkloadCall, Callable[[], Awaitable[workload_pb2.WorkloadCallData]]],
    AsyncIterator[Reply],
]


class FakeAgent:
    """Answers every call by ``answer``, and remembers the hellos."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.hellos: list[workload_pb2.WorkloadHello] = []
        self.cancelled = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)

        async def data() -> workload_pb2.WorkloadCallData:
            message = await frames.read(reader, workload_pb2.WorkloadMessage)
            assert message is not None
            return message.data

        try:
            while message := await frames.read(reader, workload_pb2.WorkloadMessage):
                if message.HasField("hello"):
                    self.hellos.append(message.hello)
                    writer.write(
                        frames.encode(
                            workload_pb2.WorkloadReply(
                                welcome=workload_pb2.WorkloadWelcome(node="n")
                            )
                        )
                    )
                    continue
                async for reply in self.answer(message.call, data):
                    reply.id = message.call.id
                    writer.write(frames.encode(workload_pb2.WorkloadReply(reply=reply)))
                    await writer.drain()
        except OSError:
            pass
        finally:
            self.cancelled.set()
            writer.close()


@asynccontextmanager
async def running(path: Path, answer: Answer) -> AsyncIterator[FakeAgent]:
    agent = FakeAgent(answer)
    server = await asyncio.start_unix_server(agent.serve, path)
    try:
        yield agent
    finally:
        server.close()
        for writer in agent.writers:
            writer.transport.abort()
        path.unlink(missing_ok=True)


async def get_run(call: workload_pb2.WorkloadCall, _data: object) -> AsyncIterator[Reply]:
    assert call.method == "SchedulerService/GetRun"
    request = scheduler_pb2.GetRunRequest.FromString(call.payload)
    if request.name == "slow":
        await asyncio.sleep(10)
    if request.name == "absent":
        status = errors.to_status(errors.NotFoundError("there is no run `absent`"))
        yield Reply(end=True, status=status)
        return
    response = scheduler_pb2.GetRunResponse(run=scheduler_pb2.Run(name=request.name))
    yield Reply(end=True, payload=response.SerializeToString())


async def ask(transport: _node.NodeTransport, name: str, timeout: float | None = 5.0) -> str:
    response = await transport.unary(
        "SchedulerService/GetRun", scheduler_pb2.GetRunRequest(name=name), timeout=timeout
    )
    assert isinstance(response, scheduler_pb2.GetRunResponse)
    return response.run.name


async def test_unary_calls_share_connections(tmp_path: Path) -> None:
    async with running(tmp_path / "s", get_run) as agent:
        transport = _node.NodeTransport(str(tmp_path / "s"))
        assert await ask(transport, "one") == "one"
        assert await ask(transport, "two") == "two"
        assert len(agent.hellos) == 1
        assert agent.hellos[0].calls_only
        assert await asyncio.gather(*(ask(transport, f"r{n}") for n in range(5))) == [
            f"r{n}" for n in range(5)
        ]
        await transport.close()


async def test_errors_come_back_typed(tmp_path: Path) -> None:
    async with running(tmp_path / "s", get_run):
        transport = _node.NodeTransport(str(tmp_path / "s"))
        with pytest.raises(errors.NotFoundError, match="there is no run `absent`"):
            await ask(transport, "absent")
        with pytest.raises(errors.DeadlineError, match="GetRun"):
            await ask(transport, "slow", timeout=0.05)
        assert await ask(transport, "still-works") == "still-works"
        with pytest.raises(errors.UnimplementedError):
            await transport.unary("SchedulerService/Fly", scheduler_pb2.GetRunRequest())
        await transport.close()


async def test_a_restarted_agent_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    transport = _node.NodeTransport(str(path))
    async with running(path, get_run):
        assert await ask(transport, "one") == "one"

    async def later() -> None:
        await asyncio.sleep(0.05)
        async with running(path, get_run):
            await done.wait()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(later())
        assert await ask(transport, "two") == "two"
        done.set()
    await transport.close()


async def test_an_absent_agent_is_unavailable(tmp_path: Path) -> None:
    transport = _node.NodeTransport(str(tmp_path / "none"))
    with pytest.raises((errors.UnavailableError, errors.DeadlineError)):
        await ask(transport, "one", timeout=0.1)


async def test_server_streams_end_and_can_be_left(tmp_path: Path) -> None:
    async def watch(call: workload_pb2.WorkloadCall, _data: object) -> AsyncIterator[Reply]:
        request = scheduler_pb2.WatchRunRequest.FromString(call.payload)
        for number in range(3):
            response = scheduler_pb2.WatchRunResponse(run=scheduler_pb2.Run(etag=number))
            yield Reply(payload=response.SerializeToString())
        if request.name == "endless":
            await asyncio.sleep(0.2)
            raise ConnectionResetError
        yield Reply(end=True)

    async with running(tmp_path / "s", watch) as agent:
        transport = _node.NodeTransport(str(tmp_path / "s"))
        request = scheduler_pb2.WatchRunRequest(name="short")
        seen = [
            response.run.etag
            async for response in transport.stream("SchedulerService/WatchRun", request)
        ]
        assert seen == [0, 1, 2]
        request = scheduler_pb2.WatchRunRequest(name="endless")
        stream = transport.stream("SchedulerService/WatchRun", request)
        assert (await anext(stream)).run.etag == 0
        agent.cancelled.clear()
        await stream.aclose()
        await asyncio.wait_for(agent.cancelled.wait(), 5)
        with pytest.raises(errors.UnavailableError):
            async for _ in transport.stream("SchedulerService/WatchRun", request):
                pass


async def test_both_sides_of_a_stream_flow_at_once(tmp_path: Path) -> None:
    async def submit(
        call: workload_pb2.WorkloadCall,
        data: Callable[[], Awaitable[workload_pb2.WorkloadCallData]],
    ) -> AsyncIterator[Reply]:
        assert call.streaming
        while not (part := await data()).end:
            request = scheduler_pb2.SubmitRequest.FromString(part.payload)
            response = scheduler_pb2.SubmitResponse()
            for each in request.submissions:
                response.updates.add(request_id=each.request_id)
            yield Reply(payload=response.SerializeToString())
        yield Reply(end=True)

    answered: list[str] = []
    turn = asyncio.Semaphore(1)

    async def requests() -> AsyncIterator[scheduler_pb2.SubmitRequest]:
        for number in range(3):
            await turn.acquire()
            yield scheduler_pb2.SubmitRequest(
                submissions=[scheduler_pb2.Submission(request_id=f"q{number}")]
            )

    async with running(tmp_path / "s", submit):
        transport = _node.NodeTransport(str(tmp_path / "s"))
        async for response in transport.stream("SchedulerService/Submit", requests()):
            answered.append(response.updates[0].request_id)
            turn.release()
    assert answered == ["q0", "q1", "q2"]


async def test_what_the_callers_iterator_raises_reaches_the_caller(tmp_path: Path) -> None:
    async def submit(_call: object, data: Callable[[], Awaitable[object]]) -> AsyncIterator[Reply]:
        await data()
        yield Reply(end=True)

    async def requests() -> AsyncIterator[scheduler_pb2.SubmitRequest]:
        raise KeyError("mine")
        yield

    async with running(tmp_path / "s", submit):
        transport = _node.NodeTransport(str(tmp_path / "s"))
        with pytest.raises(KeyError, match="mine"):
            async for _ in transport.stream("SchedulerService/Submit", requests()):
                pass


async def test_a_forked_child_opens_connections_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "s", get_run) as agent:
        transport = _node.NodeTransport(str(tmp_path / "s"))
        await ask(transport, "one")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert await ask(transport, "two") == "two"
        assert len(agent.hellos) == 2


def test_grpc_is_not_imported() -> None:
    script = "import sys, callmesh._node; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
