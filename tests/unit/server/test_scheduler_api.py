"""SchedulerService over real gRPC: deploys, tasks, runs, apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callmesh_wire.errors import (
    AlreadyExistsError,
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

S = "SchedulerService"


def app(name: str, *depends_on: str, **more: Any) -> pb.AppSpec:
    more.setdefault("args", ["serve"])
    return pb.AppSpec(
        name=name, kind=pb.APP_KIND_COMMAND, depends_on=depends_on, min_replicas=1, **more
    )


def environment(name: str, *functions: str, **more: Any) -> pb.TaskEnvironmentSpec:
    tasks = [
        pb.TaskSpec(
            name=f"{name}.{each}",
            function=each,
            interface=pb.TaskInterface(parameters=[pb.TaskParameter(name="x", type="int")]),
        )
        for each in functions
    ]
    return pb.TaskEnvironmentSpec(name=name, tasks=tasks, **more)


def deploy(*specs: Any, version: str = "v1", **more: Any) -> pb.DeployRequest:
    return pb.DeployRequest(
        version=version,
        apps=[each for each in specs if isinstance(each, pb.AppSpec)],
        task_environments=[each for each in specs if isinstance(each, pb.TaskEnvironmentSpec)],
        **more,
    )


def submission(request_id: str, name: str = "jobs.work", **more: Any) -> pb.Submission:
    return pb.Submission(request_id=request_id, task=pb.TaskRef(name=name), **more)


def number(value: int) -> common_pb2.Value:
    return common_pb2.Value(json=str(value).encode())


async def run_to_end(mesh: Any, **more: Any) -> pb.Run:
    response = await mesh.client.call(
        f"{S}/RunTask", pb.RunTaskRequest(submission=submission("", **more))
    )
    return await ended(mesh, response.run.name)


async def ended(mesh: Any, name: str) -> pb.Run:
    async with asyncio.timeout(10):
        async for update in mesh.client.stream(f"{S}/WatchRun", pb.WatchRunRequest(name=name)):
            last = update.run
    return last


class TestDeploy:
    async def test_app_gets_a_revision_a_mesh_port_and_its_addresses(self, mesh: Any) -> None:
        deployed = (await mesh.client.call(f"{S}/Deploy", deploy(app("web")))).apps[0]
        assert (deployed.revision, deployed.spec.project) == (1, "default")
        assert deployed.endpoint == f"http://127.0.0.1:{deployed.mesh_port}"
        assert deployed.url == "http://web.localhost:7480"

    async def test_same_specification_keeps_the_revision(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        again = await mesh.client.call(f"{S}/Deploy", deploy(app("web"), version="v2"))
        assert (again.apps[0].revision, again.apps[0].spec.version) == (1, "v2")
        other = await mesh.client.call(f"{S}/Deploy", deploy(app("web", args=["other"])))
        assert other.apps[0].revision == 2

    async def test_every_mistake_is_said_at_once(self, mesh: Any) -> None:
        bad = deploy(app("Web_1", port=70_000), environment("jobs", "work"), version="?")
        with pytest.raises(InvalidArgumentError) as caught:
            await mesh.client.call(f"{S}/Deploy", bad)
        message = caught.value.message
        assert "`Web_1`" in message
        assert "between 0 and 65535" in message
        assert "environment `jobs`: version" in message

    async def test_unknown_dependencies_are_named(self, mesh: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="`web` depends on app `db`"):
            await mesh.client.call(f"{S}/Deploy", deploy(app("web", "db")))
        with pytest.raises(NotFoundError):
            await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name="web"))

    async def test_a_cycle_is_named_over_what_exists_already(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("a"), app("b", "a"), app("c", "b")))
        with pytest.raises(InvalidArgumentError, match="a → c → b → a"):
            await mesh.client.call(f"{S}/Deploy", deploy(app("a", "c")))

    async def test_the_same_request_is_answered_the_same(self, mesh: Any) -> None:
        request = deploy(app("web"), request_id="deploy-1")
        first = await mesh.client.call(f"{S}/Deploy", request)
        assert await mesh.client.call(f"{S}/Deploy", request) == first
        with pytest.raises(FailedPreconditionError, match="was used for Deploy"):
            await mesh.client.call(
                f"{S}/DeleteApp", pb.DeleteAppRequest(request_id="deploy-1", name="web")
            )

    async def test_a_version_is_replaced_only_if_it_is_ephemeral(self, mesh: Any) -> None:
        call = mesh.client.call
        await call(f"{S}/Deploy", deploy(environment("jobs", "work"), ephemeral=True))
        with pytest.raises(NotFoundError):
            await call(f"{S}/GetTask", pb.GetTaskRequest(task=pb.TaskRef(name="jobs.work")))
        await call(f"{S}/Deploy", deploy(environment("jobs", "work", description="new")))
        await call(f"{S}/Deploy", deploy(environment("jobs", "work", description="new")))
        with pytest.raises(AlreadyExistsError, match="choose another version"):
            await call(f"{S}/Deploy", deploy(environment("jobs", "work", description="newer")))

    async def test_an_ephemeral_deploy_replaces_no_app(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        request = deploy(app("web", args=["other"]), app("db"), ephemeral=True)
        answer = await mesh.client.call(f"{S}/Deploy", request)
        assert [each.revision for each in answer.apps] == [1, 1]
        assert list(answer.apps[0].spec.args) == ["serve"]

    async def test_missing_secrets_and_bundles_are_named(self, mesh: Any) -> None:
        spec = app("web", secrets=[common_pb2.SecretRef(key="api", env_var="API")])
        spec.code.bundle = "ab" * 32
        with pytest.raises(FailedPreconditionError) as caught:
            await mesh.client.call(f"{S}/Deploy", deploy(spec))
        assert "callmesh create secret api" in caught.value.message
        assert "is not on the server" in caught.value.message


class TestTasks:
    async def test_resolves_by_full_function_and_short_name(self, mesh: Any) -> None:
        spec = environment("jobs", "work", "rest")
        spec.tasks[0].short_name = "w"
        await mesh.client.call(f"{S}/Deploy", deploy(spec))
        for name in ("jobs.work", "work", "w"):
            found = await mesh.client.call(
                f"{S}/GetTask", pb.GetTaskRequest(task=pb.TaskRef(name=name))
            )
            assert found.task.spec.name == "jobs.work"

    async def test_an_ambiguous_name_lists_what_is_meant(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(environment("a", "work")))
        await mesh.client.call(f"{S}/Deploy", deploy(environment("b", "work")))
        with pytest.raises(InvalidArgumentError, match=r"one of `a\.work`, `b\.work`"):
            await mesh.client.call(f"{S}/GetTask", pb.GetTaskRequest(task=pb.TaskRef(name="work")))

    async def test_what_is_not_found_comes_with_a_suggestion(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(environment("jobs", "work")))
        with pytest.raises(NotFoundError, match=r"default/development: did you mean `jobs\.work`"):
            await mesh.client.call(
                f"{S}/GetTask", pb.GetTaskRequest(task=pb.TaskRef(name="jobs.wrok"))
            )
        scope = common_pb2.Scope(project="other")
        with pytest.raises(NotFoundError, match="one is in default/development"):
            await mesh.client.call(
                f"{S}/GetTask", pb.GetTaskRequest(task=pb.TaskRef(name="work", scope=scope))
            )

    async def test_newest_version_and_pages(self, mesh: Any) -> None:
        for version in ("v1", "v2"):
            spec = environment("jobs", "work", "rest", description=version)
            await mesh.client.call(f"{S}/Deploy", deploy(spec, version=version))
        task = pb.TaskRef(name="jobs.work")
        newest = await mesh.client.call(f"{S}/GetTask", pb.GetTaskRequest(task=task))
        assert newest.task.environment.version == "v2"
        task.version = "v1"
        older = await mesh.client.call(f"{S}/GetTask", pb.GetTaskRequest(task=task))
        assert older.task.environment.description == "v1"
        page = await mesh.client.call(f"{S}/ListTasks", pb.ListTasksRequest(page_size=1))
        rest = await mesh.client.call(
            f"{S}/ListTasks", pb.ListTasksRequest(page_token=page.next_page_token)
        )
        assert [t.spec.name for t in [*page.tasks, *rest.tasks]] == ["jobs.rest", "jobs.work"]
        every = await mesh.client.call(f"{S}/ListTasks", pb.ListTasksRequest(all_versions=True))
        assert len(every.tasks) == 4


class TestRuns:
    @pytest.fixture(autouse=True)
    async def deployed(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(environment("jobs", "work")))

    async def test_a_run_ends_with_its_outputs(self, mesh: Any) -> None:
        run = await run_to_end(mesh, inputs={"x": number(7)})
        assert run.phase == pb.RUN_PHASE_SUCCEEDED
        assert (run.outputs[0], run.inputs["x"]) == (number(7), number(7))
        assert run.url == f"http://localhost:7480/runs/{run.name}"
        assert run.trace_id in run.traceparent
        assert len(run.trace_id) == 32
        assert run.requested_by == "user"

    async def test_the_callers_trace_is_kept(self, mesh: Any) -> None:
        context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        run = await run_to_end(mesh, traceparent=context)
        assert run.trace_id == "0af7651916cd43dd8448eb211c80319c"

    async def test_inputs_are_checked_against_the_task(self, mesh: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="no parameter `y`; it has `x`"):
            await run_to_end(mesh, inputs={"y": number(1)})

    async def test_the_same_request_is_one_run(self, mesh: Any) -> None:
        request = pb.RunTaskRequest(submission=submission("q1"))
        first, second = await asyncio.gather(
            *(mesh.client.call(f"{S}/RunTask", request) for _ in range(2))
        )
        await ended(mesh, first.run.name)
        third = await mesh.client.call(f"{S}/RunTask", request)
        assert first.run.name == second.run.name == third.run.name
        assert third.run.phase == pb.RUN_PHASE_SUCCEEDED

    async def test_a_taken_name_is_refused(self, mesh: Any) -> None:
        await run_to_end(mesh, run_name="mine")
        with pytest.raises(AlreadyExistsError, match="run `mine` already"):
            await run_to_end(mesh, run_name="mine")

    async def test_of_two_that_want_one_name_at_once_one_gets_it(self, mesh: Any) -> None:
        mesh.agent.outcome = lambda order: None
        requests = [
            pb.RunTaskRequest(submission=submission(f"q{n}", run_name="mine")) for n in range(2)
        ]
        answers = await asyncio.gather(
            *(mesh.client.call(f"{S}/RunTask", each) for each in requests),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in answers) == [
            "AlreadyExistsError",
            "RunTaskResponse",
        ]

    async def test_abort_ends_the_run_and_its_children_and_only_once(self, mesh: Any) -> None:
        mesh.agent.outcome = lambda order: None
        parent = await mesh.client.call(
            f"{S}/RunTask", pb.RunTaskRequest(submission=submission("p"))
        )
        child = await mesh.client.call(
            f"{S}/RunTask",
            pb.RunTaskRequest(submission=submission("c", parent=parent.run.name)),
        )
        abort = pb.AbortRunRequest(request_id="a", name=parent.run.name, reason="enough")
        aborted = await mesh.client.call(f"{S}/AbortRun", abort)
        assert aborted.run.phase == pb.RUN_PHASE_ABORTED
        assert "enough" in aborted.run.message
        assert (await ended(mesh, child.run.name)).phase == pb.RUN_PHASE_ABORTED
        with pytest.raises(FailedPreconditionError, match="has ended as aborted"):
            await mesh.client.call(f"{S}/AbortRun", pb.AbortRunRequest(name=parent.run.name))
        with pytest.raises(FailedPreconditionError, match="cannot start others"):
            await run_to_end(mesh, parent=parent.run.name)

    async def test_runs_are_listed_newest_first_by_pages_and_filters(self, mesh: Any) -> None:
        names = [(await run_to_end(mesh, inputs={"x": number(n)})).name for n in range(3)]
        mesh.agent.outcome = lambda order: None
        waiting = await mesh.client.call(
            f"{S}/RunTask", pb.RunTaskRequest(submission=submission(""))
        )
        page = await mesh.client.call(f"{S}/ListRuns", pb.ListRunsRequest(page_size=2))
        assert [each.name for each in page.runs] == [waiting.run.name, names[2]]
        assert not page.runs[1].inputs
        assert not page.runs[1].outputs
        rest = await mesh.client.call(
            f"{S}/ListRuns", pb.ListRunsRequest(page_size=2, page_token=page.next_page_token)
        )
        assert [each.name for each in rest.runs] == [names[1], names[0]]
        assert not rest.next_page_token
        done = await mesh.client.call(
            f"{S}/ListRuns", pb.ListRunsRequest(phases=[pb.RUN_PHASE_SUCCEEDED])
        )
        assert len(done.runs) == 3

    async def test_unknown_run_is_not_found(self, mesh: Any) -> None:
        with pytest.raises(NotFoundError, match="no run `nope`"):
            await mesh.client.call(f"{S}/GetRun", pb.GetRunRequest(name="nope"))
        with pytest.raises(NotFoundError, match="no run `nope`"):
            await ended(mesh, "nope")


class TestSubmit:
    async def test_one_stream_carries_many_runs_and_their_ends(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(environment("jobs", "work")))

        async def requests() -> AsyncIterator[pb.SubmitRequest]:
            yield pb.SubmitRequest(
                submissions=[submission(f"q{n}", inputs={"x": number(n)}) for n in range(20)]
            )
            yield pb.SubmitRequest(submissions=[submission("bad", "jobs.nothing")])

        first: dict[str, int] = {}
        last: dict[str, pb.RunUpdate] = {}
        async for response in mesh.client.stream(f"{S}/Submit", requests()):
            for update in response.updates:
                first.setdefault(update.request_id, update.run.phase)
                last[update.request_id] = update
        bad = last.pop("bad")
        assert (bad.error.code, bad.error.reason) == (5, "NOT_FOUND")
        assert len(last) == 20
        for n in range(20):
            assert last[f"q{n}"].run.outputs[0] == number(n)
            assert not last[f"q{n}"].run.inputs

    async def test_what_is_sent_again_is_answered_with_its_end(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(environment("jobs", "work")))

        async def requests() -> AsyncIterator[pb.SubmitRequest]:
            yield pb.SubmitRequest(submissions=[submission("q")])

        ends = []
        for _ in range(2):
            async for response in mesh.client.stream(f"{S}/Submit", requests()):
                last = response.updates[-1]
            ends.append(last)
        assert ends[0].run == ends[1].run
        assert ends[1].run.phase == pb.RUN_PHASE_SUCCEEDED
        assert len([m for m in mesh.agent.received if m.HasField("go")]) == 1


class TestApps:
    async def test_watch_shows_readiness_change_and_deletion(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        watch = mesh.client.stream(f"{S}/WatchApp", pb.WatchAppRequest(name="web"))
        async with asyncio.timeout(10):
            async for update in watch:
                if update.app.state == pb.APP_STATE_READY:
                    break
            assert update.app.serving_revision == 1
            assert update.app.instances[0].status.pid == 77
            await mesh.client.call(f"{S}/DeleteApp", pb.DeleteAppRequest(name="web"))
            deleted = [each.deleted async for each in watch]
        assert deleted[-1]
        with pytest.raises(NotFoundError, match="no app `web`"):
            await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name="web"))

    async def test_an_agent_that_tells_no_views_is_not_waited_for(self, start_mesh: Any) -> None:
        async with start_mesh(tells_views=False) as mesh:
            await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
            watch = mesh.client.stream(f"{S}/WatchApp", pb.WatchAppRequest(name="web"))
            async with asyncio.timeout(20):
                async for update in watch:
                    if update.app.state == pb.APP_STATE_READY:
                        break

    async def test_scale_and_etag(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        scale = pb.UpdateAppRequest(name="web", scale=pb.ScaleApp(min_replicas=2))
        updated = await mesh.client.call(f"{S}/UpdateApp", scale)
        assert updated.app.spec.min_replicas == 2
        scale.etag = updated.app.etag + 1_000
        with pytest.raises(ConflictError):
            await mesh.client.call(f"{S}/UpdateApp", scale)
        with pytest.raises(InvalidArgumentError, match="must be set"):
            await mesh.client.call(f"{S}/UpdateApp", pb.UpdateAppRequest(name="web"))

    async def test_apps_are_listed_by_scope(self, mesh: Any) -> None:
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        scope = common_pb2.Scope(project="other", domain="production")
        await mesh.client.call(f"{S}/Deploy", deploy(app("web"), scope=scope))
        here = await mesh.client.call(f"{S}/ListApps", pb.ListAppsRequest(scope=scope))
        assert [each.url for each in here.apps] == ["http://web--production--other.localhost:7480"]
        every = await mesh.client.call(f"{S}/ListApps", pb.ListAppsRequest(all_scopes=True))
        assert len(every.apps) == 2


class TestNodes:
    async def test_nodes_and_server_are_described(self, mesh: Any) -> None:
        await mesh.agent.until(lambda: bool(mesh.agent.received))
        nodes = (await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())).nodes
        assert [(each.name, each.connected) for each in nodes] == [("local", True)]
        server = await mesh.client.call(f"{S}/GetServer", pb.GetServerRequest())
        assert (server.epoch, server.ingress_url) == (1, "http://localhost:7480")
        assert not server.storage
        server = await mesh.client.call(f"{S}/GetServer", pb.GetServerRequest(storage=True))
        store, blobs = server.storage
        assert (store.kind, blobs.kind, blobs.count) == ("store", "blobs", 0)
        assert store.bytes > 0


class TestSecondLife:
    async def test_what_was_acknowledged_is_there_after_a_restart(self, start_mesh: Any) -> None:
        async with start_mesh(outcome=lambda order: None) as mesh:
            await mesh.client.call(f"{S}/Deploy", deploy(app("web"), environment("jobs", "work")))
            done = pb.RunTaskRequest(submission=submission("r", inputs={"x": number(5)}))
            run = (await mesh.client.call(f"{S}/RunTask", done)).run
            await mesh.agent.until(lambda: run.name in mesh.agent.running)
            order = mesh.agent.running[run.name]
            port = (await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name="web"))).app
        running = node_pb2.AttemptReport(
            run=order.run,
            number=1,
            fence=order.fence,
            phase=pb.ATTEMPT_PHASE_RUNNING,
            worker="w1",
        )
        async with start_mesh(known=[running]) as mesh:
            again = (await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name="web"))).app
            assert (again.mesh_port, again.revision) == (port.mesh_port, 1)
            await mesh.agent.until(
                lambda: any(m.HasField("mesh_view") for m in mesh.agent.received)
            )
            mesh.agent.report(order, pb.ATTEMPT_PHASE_SUCCEEDED, outputs=[number(5)])
            end = await ended(mesh, run.name)
            assert (end.phase, len(end.attempts), end.inputs["x"]) == (
                pb.RUN_PHASE_SUCCEEDED,
                1,
                number(5),
            )
            server = await mesh.client.call(f"{S}/GetServer", pb.GetServerRequest())
            assert server.epoch == 2

    async def test_an_attempt_that_the_node_does_not_know_is_tried_again(
        self, start_mesh: Any
    ) -> None:
        async with start_mesh(outcome=lambda order: None) as mesh:
            await mesh.client.call(f"{S}/Deploy", deploy(environment("jobs", "work")))
            request = pb.RunTaskRequest(submission=submission("r"))
            run = (await mesh.client.call(f"{S}/RunTask", request)).run
            await mesh.agent.until(lambda: run.name in mesh.agent.running)
        async with start_mesh() as mesh:
            end = await ended(mesh, run.name)
            assert end.phase == pb.RUN_PHASE_SUCCEEDED
            assert [each.phase for each in end.attempts] == [
                pb.ATTEMPT_PHASE_LOST,
                pb.ATTEMPT_PHASE_SUCCEEDED,
            ]


async def test_resolve_follows_a_deployed_app(mesh: Any) -> None:
    watch = mesh.client.stream("RegistryService/Watch", registry_pb2.WatchRequest(service="web"))
    async with asyncio.timeout(10):
        assert not (await anext(watch)).exists
        await mesh.client.call(f"{S}/Deploy", deploy(app("web")))
        async for update in watch:
            if update.service.endpoints:
                break
    assert update.service.endpoints[0].port == 4000
