"""Agents' sessions, in memory and over gRPC; logs over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callmesh_wire.errors import InvalidArgumentError, NotFoundError, UnavailableError
from callmeshpb.v1 import log_pb2, node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

S = "SchedulerService"


async def deploy(mesh: Any) -> None:
    app = pb.AppSpec(name="web", kind=pb.APP_KIND_COMMAND, args=["x"])
    jobs = pb.TaskEnvironmentSpec(
        name="jobs", tasks=[pb.TaskSpec(name="jobs.work", function="work")]
    )
    request = pb.DeployRequest(version="v1", apps=[app], task_environments=[jobs])
    await mesh.client.call(f"{S}/Deploy", request)


def kinds(messages: Any) -> list[str]:
    return [each.WhichOneof("message") for each in messages]


async def test_a_session_begins_with_welcome_and_the_whole_picture(mesh: Any) -> None:
    await mesh.agent.until(lambda: "mesh_view" in kinds(mesh.agent.received))
    assert kinds(mesh.agent.received)[:3] == ["welcome", "mesh_view", "desired"]
    welcome = mesh.agent.received[0].welcome
    assert (welcome.epoch, welcome.lease.seconds) == (1, 15)


async def test_desired_sets_and_views_follow_a_deploy(mesh: Any) -> None:
    await deploy(mesh)
    await mesh.agent.until(
        lambda: any(
            endpoint.port == 4000
            for message in mesh.agent.received
            for view in message.mesh_view.services
            for endpoint in view.service.endpoints
        )
    )
    wanted = [m.desired for m in mesh.agent.received if m.desired.instances]
    assert wanted[-1].instances[0].spec.name == "web"
    versions = [
        m.desired.version or m.mesh_view.version
        for m in mesh.agent.received
        if m.HasField("desired") or m.HasField("mesh_view")
    ]
    assert len(set(versions)) == len(versions)


def views(agent: Any) -> list[Any]:
    """What the agent was sent of the mesh view, in its order."""
    return [
        getattr(each, kind)
        for each in agent.received
        if (kind := each.WhichOneof("message")) in ("mesh_view", "mesh_delta")
    ]


def names(services: Any) -> list[str]:
    return [each.service.name for each in services]


async def test_an_agent_that_takes_deltas_is_told_what_it_lacks(start_mesh: Any) -> None:
    async with start_mesh(takes_deltas=True) as mesh:
        await mesh.agent.until(lambda: bool(views(mesh.agent)))
        whole = views(mesh.agent)[0]
        assert (whole.DESCRIPTOR.name, len(whole.services)) == ("MeshView", 0)
        await deploy(mesh)
        await mesh.agent.until(
            lambda: any(s.service.endpoints for v in views(mesh.agent)[1:] for s in v.changed)
        )
        deltas = views(mesh.agent)[1:]
        assert [each.DESCRIPTOR.name for each in deltas] == ["MeshDelta"] * len(deltas)
        versions = [whole.version, *(each.version for each in deltas)]
        assert [each.from_version for each in deltas] == versions[:-1]
        # One that comes back with this view is told that it has all.
        last = deltas[-1]
        held = node_pb2.MeshView(version=last.version, services=last.changed)
        again = type(mesh.agent)(mesh.server, node="other", takes_deltas=True, held=held)
        serving = mesh.tasks.create_task(again.run())
        await again.until(lambda: bool(views(again)))
        (delta,) = views(again)
        assert (delta.from_version, delta.changed, delta.removed) == (held.version, [], [])
        again.hang_up()
        await serving


async def test_a_view_of_another_time_is_brought_up_by_its_tags(start_mesh: Any) -> None:
    stale = [
        node_pb2.ServiceView(service={"mesh_name": name, "name": name}, tag=9)
        for name in ("web", "gone")
    ]
    held = node_pb2.MeshView(version=5, services=stale)
    async with start_mesh() as mesh:
        await deploy(mesh)
        other = type(mesh.agent)(mesh.server, node="other", takes_deltas=True, held=held)
        serving = mesh.tasks.create_task(other.run())
        await other.until(lambda: bool(views(other)))
        delta = views(other)[0]
        assert (delta.from_version, names(delta.changed)) == (5, ["web"])
        assert delta.removed == ["gone"]
        other.hang_up()
        await serving


async def test_what_does_not_begin_with_hello_is_refused(mesh: Any) -> None:
    async def messages() -> AsyncIterator[list[node_pb2.AgentMessage]]:
        yield [node_pb2.AgentMessage(lease=node_pb2.LeaseRenewal())]

    with pytest.raises(InvalidArgumentError, match="begins with `hello`"):
        await anext(mesh.server.sessions.serve(messages()))


async def test_a_stream_that_ends_before_its_hello_is_refused_like_one_without(mesh: Any) -> None:
    async def messages() -> AsyncIterator[list[node_pb2.AgentMessage]]:
        await asyncio.sleep(0.01)
        for never in ():
            yield never

    with pytest.raises(InvalidArgumentError, match="begins with `hello`"):
        await anext(mesh.server.sessions.serve(messages()))


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (node_pb2.NodeHello(node="x", protocol_version=7), "speaks protocol 7"),
        (node_pb2.NodeHello(node="Not_a_name", protocol_version=1), "Not_a_name"),
    ],
)
async def test_a_node_that_may_not_join_is_told_why(
    mesh: Any, hello: node_pb2.NodeHello, reason: str
) -> None:
    async def messages() -> AsyncIterator[list[node_pb2.AgentMessage]]:
        yield [node_pb2.AgentMessage(hello=hello)]

    answers = [each async for batch in mesh.server.sessions.serve(messages()) for each in batch]
    assert len(answers) == 1
    assert reason in answers[0].welcome.refused


async def test_a_second_session_of_a_node_ends_the_first(start_mesh: Any) -> None:
    async with start_mesh(agent=False) as mesh:
        first, second = mesh.agent, type(mesh.agent)(mesh.server)
        serving = mesh.tasks.create_task(outcome_of(first.run()))
        await first.until(lambda: bool(first.received))
        again = mesh.tasks.create_task(second.run())
        assert "another session" in await serving
        await second.until(lambda: bool(second.received))
        nodes = (await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())).nodes
        assert [each.connected for each in nodes] == [True]
        second.hang_up()
        await again
        nodes = (await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())).nodes
        assert [each.connected for each in nodes] == [False]


async def test_a_log_ends_with_the_session_that_another_one_replaces(start_mesh: Any) -> None:
    async with start_mesh(agent=False) as mesh:
        first, second = mesh.agent, type(mesh.agent)(mesh.server)
        serving = mesh.tasks.create_task(outcome_of(first.run()))
        await first.until(lambda: bool(first.received))
        asked = node_pb2.LogRequest(instance_id="web-1", follow=True)
        chunk = mesh.tasks.create_task(anext(mesh.server.sessions.tail("local", asked)))
        await first.until(lambda: any(each.HasField("log") for each in first.received))
        again = mesh.tasks.create_task(second.run())
        async with asyncio.timeout(5):
            assert (await chunk).error == "the node disconnected"
        await serving
        second.hang_up()
        await again


async def test_ports_that_a_node_cannot_bind_are_avoided_until_it_leaves(start_mesh: Any) -> None:
    async def port_of(name: str) -> int:
        found = await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name=name))
        return int(found.app.mesh_port)

    async with start_mesh(instances_ready=False) as mesh:
        await deploy(mesh)
        first = await port_of("web")
        mesh.agent.say(ports_taken=node_pb2.PortsTaken(ports=[first, first + 1]))
        async with asyncio.timeout(5):
            while await port_of("web") == first:
                await asyncio.sleep(0.01)
        assert await port_of("web") == first + 2
        mesh.agent.hang_up()
        async with asyncio.timeout(5):
            while mesh.server.sessions.connected("local"):
                await asyncio.sleep(0.01)
        other = pb.AppSpec(name="other", kind=pb.APP_KIND_COMMAND, args=["x"])
        await mesh.client.call(f"{S}/Deploy", pb.DeployRequest(version="v1", apps=[other]))
        assert await port_of("other") == first + 1


async def outcome_of(session: Any) -> str:
    try:
        await session
    except UnavailableError as problem:
        return problem.message
    return ""


async def test_the_same_session_over_grpc_with_the_token(start_mesh: Any) -> None:
    async with start_mesh(agent=False) as mesh:
        await deploy(mesh)
        client = mesh.tcp()
        capacity = pb.NodeCapacity(cpu=1, memory=2**30, slots=2, shared_cpu=True)
        hello = node_pb2.NodeHello(node="far", protocol_version=1, capacity=capacity)
        outgoing: asyncio.Queue[list[node_pb2.AgentMessage]] = asyncio.Queue()
        outgoing.put_nowait(
            [
                node_pb2.AgentMessage(hello=hello),
                node_pb2.AgentMessage(instances_complete=node_pb2.InstancesComplete()),
                node_pb2.AgentMessage(attempts_complete=node_pb2.AttemptsComplete()),
            ]
        )

        async def requests() -> AsyncIterator[node_pb2.SessionRequest]:
            while True:
                yield node_pb2.SessionRequest(messages=await outgoing.get())

        submission = pb.Submission(task=pb.TaskRef(name="work"))
        request = pb.RunTaskRequest(submission=submission)
        run = (await mesh.client.call(f"{S}/RunTask", request)).run
        seen: list[str] = []
        async with asyncio.timeout(10):
            async for response in client.stream("NodeService/Session", requests()):
                for message in response.messages:
                    seen.append(message.WhichOneof("message"))
                    if message.HasField("go"):
                        end = node_pb2.AttemptReport(
                            run=run.name,
                            number=1,
                            fence=message.go.fence,
                            phase=pb.ATTEMPT_PHASE_SUCCEEDED,
                            worker="w",
                        )
                        outgoing.put_nowait([node_pb2.AgentMessage(attempt=end)])
                if "ack" in seen:
                    break
        assert seen.index("prepare") < seen.index("go") < seen.index("ack")
        got = await mesh.client.call(f"{S}/GetRun", pb.GetRunRequest(name=run.name))
        assert got.run.phase == pb.RUN_PHASE_SUCCEEDED
        await client.channel.close()


class TestLogs:
    """TailLogs, answered by an agent that has these lines."""

    LINES = {"web": ["one", "two"], "w1": ["printed"]}

    @pytest.fixture
    async def logging(self, mesh: Any) -> Any:
        await deploy(mesh)
        take = mesh.agent.take
        mesh.agent.log_requests = []

        def answer(message: node_pb2.ServerMessage) -> None:
            if message.HasField("log"):
                mesh.agent.log_requests.append(message.log)
                key = message.log.attempt.worker or message.log.instance_id.partition("-")[0]
                self.send(mesh, message.log, self.LINES[key], end=not message.log.follow)
            else:
                take(message)

        mesh.agent.take = answer
        await mesh.agent.until(lambda: any(m.desired.instances for m in mesh.agent.received))
        return mesh

    @staticmethod
    def send(mesh: Any, request: node_pb2.LogRequest, lines: list[str], *, end: bool) -> None:
        chunk = node_pb2.LogChunk(stream_id=request.stream_id, lines=lines, end=end)
        mesh.agent.say(log=chunk)

    async def tail(self, mesh: Any, **request: Any) -> AsyncIterator[tuple[str, str]]:
        stream = mesh.client.stream("LogService/TailLogs", log_pb2.TailLogsRequest(**request))
        async with asyncio.timeout(10):
            async for response in stream:
                for line in response.lines:
                    yield line.source, line.text

    async def test_an_apps_lines_carry_their_instance(self, logging: Any) -> None:
        lines = [line async for line in self.tail(logging, app="web", tail_lines=5)]
        assert [text for _, text in lines] == ["one", "two"]
        assert lines[0][0].startswith("web-1-")
        assert logging.agent.log_requests[0].tail_lines == 5

    async def test_following_an_app_ends_with_its_deletion(self, logging: Any) -> None:
        seen = []
        async for _, text in self.tail(logging, app="web", follow=True):
            seen.append(text)
            if text == "two":
                self.send(logging, logging.agent.log_requests[0], ["three"], end=True)
            if text == "three":
                await logging.client.call(f"{S}/DeleteApp", pb.DeleteAppRequest(name="web"))
        assert seen == ["one", "two", "three"]

    async def test_a_runs_lines_come_by_attempt_and_offsets(self, logging: Any) -> None:
        request = pb.RunTaskRequest(submission=pb.Submission(task=pb.TaskRef(name="work")))
        logging.agent.outcome = lambda order: None
        run = (await logging.client.call(f"{S}/RunTask", request)).run
        await logging.agent.until(lambda: run.name in logging.agent.running)
        order = logging.agent.running[run.name]
        seen = []
        async for source, text in self.tail(logging, run=run.name, follow=True):
            seen.append((source, text))
            if text == "printed":
                logging.agent.report(order, pb.ATTEMPT_PHASE_SUCCEEDED, log_start=10, log_end=20)
                self.send(logging, logging.agent.log_requests[0], ["rest"], end=True)
        assert seen == [("attempt 1", "printed"), ("attempt 1", "rest")]
        seen = [text async for _, text in self.tail(logging, run=run.name, follow=True)]
        assert seen == ["printed"]
        part = logging.agent.log_requests[-1].attempt
        assert (part.worker, part.start, part.end) == ("w1", 10, 20)

    async def test_what_is_unknown_is_not_found(self, logging: Any) -> None:
        for target in ({"app": "nope"}, {"run": "nope"}, {"app": "web", "instance_id": "x"}):
            with pytest.raises(NotFoundError):
                await anext(self.tail(logging, **target))
        with pytest.raises(InvalidArgumentError, match="one of `app` and `run`"):
            await anext(self.tail(logging))

    async def test_a_lost_node_is_said_in_the_log(self, logging: Any) -> None:
        logging.agent.hang_up()
        seen = []
        async with asyncio.timeout(5):
            while not any("not connected" in text for text in seen):
                seen = [text async for _, text in self.tail(logging, app="web")]
        assert len(seen) == 1
