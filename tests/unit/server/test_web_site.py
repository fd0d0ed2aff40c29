"""The pages over a real gRPC server that answers from a handful of records."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from callmesh_server.web.mesh import Mesh
from callmesh_server.web.site import build
from callmesh_wire import channel, status
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import log_pb2, log_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc

NOW = int(time.time())


def records() -> tuple[dict[str, scheduler_pb2.App], dict[str, scheduler_pb2.Run]]:
    apps = {}
    for name, state in (
        ("shop", scheduler_pb2.APP_STATE_READY),
        ("slow-start", scheduler_pb2.APP_STATE_DEPLOYING),
        ("broken", scheduler_pb2.APP_STATE_FAILED),
    ):
        app = apps[name] = scheduler_pb2.App(
            spec=scheduler_pb2.AppSpec(project="default", domain="development", name=name),
            revision=3,
            serving_revision=2 if name == "broken" else 3,
            state=state,
            endpoint="http://127.0.0.1:20001",
            url=f"http://{name}.localhost:7480/",
        )
        app.instances.add(
            id=f"{name}-3-abcde",
            intent=scheduler_pb2.INSTANCE_INTENT_RUN,
            status=scheduler_pb2.InstanceStatus(state=scheduler_pb2.INSTANCE_STATE_READY, pid=77),
        )
    apps["shop"].spec.depends_on.append("slow-start")
    for path in ("/docs", "https://tea.example/", "javascript:alert(1)"):
        apps["shop"].spec.links.add(path=path, title="Read")
    broken = apps["broken"]
    broken.conditions.add(
        type="Ready", status="CONDITION_STATUS_FALSE", reason="StartFailed", message="<no port>"
    )
    broken.instances[0].status.state = scheduler_pb2.INSTANCE_STATE_BACKOFF
    broken.instances[0].status.last_exit = "exit code 1"
    broken.instances[0].status.log_tail.append("ImportError: no module named `nope`")
    runs = {}
    for name, phase, parent in (
        ("r1", scheduler_pb2.RUN_PHASE_SUCCEEDED, ""),
        ("r2", scheduler_pb2.RUN_PHASE_RUNNING, "r1"),
        ("r3", scheduler_pb2.RUN_PHASE_FAILED, "r2"),
        ("r4", scheduler_pb2.RUN_PHASE_SUCCEEDED, ""),
        ("r5", scheduler_pb2.RUN_PHASE_SUCCEEDED, "r4"),
    ):
        run = runs[name] = scheduler_pb2.Run(
            name=name,
            project="default",
            domain="development",
            task="letters.join",
            phase=phase,
            parent=parent,
            created_at=Timestamp(seconds=NOW),
        )
        run.inputs["words"].json = b'["<b>bold</b>"]'
    runs["r1"].outputs.add(json=b'"done"')
    runs["r4"].cached_from, runs["r4"].message = "r1", "not executed: run `r1` had equal inputs"
    runs["r5"].step = "ask_bank"
    error = runs["r3"].error
    error.type, error.message, error.traceback = "ValueError", "empty", "line 1 in join"
    return apps, runs


class Scheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Answers from records; refuses what it does not have as the server does."""

    def __init__(self) -> None:
        self.apps, self.runs = records()

    async def GetServer(self, request, context):
        return scheduler_pb2.GetServerResponse(version="0.1.0")

    async def ListNodes(self, request, context):
        return scheduler_pb2.ListNodesResponse(nodes=[scheduler_pb2.Node(name="laptop")])

    async def ListApps(self, request, context):
        return scheduler_pb2.ListAppsResponse(apps=self.apps.values())

    async def GetApp(self, request, context):
        if request.name not in self.apps:
            await refuse(context, f"there is no app `{request.name}`")
        return scheduler_pb2.GetAppResponse(app=self.apps[request.name])

    async def ListTasks(self, request, context):
        task = scheduler_pb2.Task()
        task.spec.name = "letters.join"
        return scheduler_pb2.ListTasksResponse(tasks=[task])

    async def ListRuns(self, request, context):
        runs = [run for run in self.runs.values() if request.parent in ("", run.parent)]
        return scheduler_pb2.ListRunsResponse(runs=runs)

    async def GetRun(self, request, context):
        if request.name not in self.runs:
            await refuse(context, f"there is no run `{request.name}`")
        return scheduler_pb2.GetRunResponse(run=self.runs[request.name])


class Logs(log_pb2_grpc.LogServiceServicer):
    async def TailLogs(self, request, context):
        line = log_pb2.LogLine(source="attempt 1", text="hello <world>")
        yield log_pb2.TailLogsResponse(lines=[line])


async def refuse(context: grpc.aio.ServicerContext, message: str) -> None:
    error = NotFoundError(message)
    context.set_trailing_metadata(((status.DETAILS_KEY, status.details(error)),))
    await context.abort(status.grpc_code(error), message)


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    server = channel.new_server()
    scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(Scheduler(), server)
    log_pb2_grpc.add_LogServiceServicer_to_server(Logs(), server)
    server.add_insecure_port(f"unix:{tmp_path}/api.sock")
    await server.start()
    mesh = Mesh(f"unix:{tmp_path}/api.sock")
    transport = httpx.ASGITransport(app=build(mesh, 7480))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7480") as client:
        yield client
    await mesh.close()
    await server.stop(None)


async def test_home_lists_apps_tasks_and_runs(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/")
    assert page.status_code == 200
    for text in ("/apps/shop", "http://shop.localhost:7480/", "1 of 1", "letters.join", "/runs/r1"):
        assert text in page.text
    assert "/runs/r2" not in page.text, "child runs belong to their parent's page"


async def test_run_page_shows_relatives_values_and_log_escaped(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/runs/r1")).text
    assert "/runs/r2" in page
    assert "/runs/r3" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "hello &lt;world&gt;" in page
    assert "<b>bold" not in page
    assert "http-equiv" not in page


async def test_what_did_not_execute_has_no_attempts_and_says_so_once(
    pages: httpx.AsyncClient,
) -> None:
    cached = (await pages.get("/runs/r4")).text
    assert cached.count("had equal inputs") == 1
    assert "ask_bank (traced)" in cached
    step = (await pages.get("/runs/r5")).text
    assert "ask_bank (traced)" in step
    for page in (cached, step):
        assert "Attempts" not in page
        assert "hello" not in page


async def test_run_page_refreshes_while_it_runs(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/runs/r2")).text
    assert '<meta http-equiv="refresh"' in page
    assert '<meta http-equiv="refresh"' not in (await pages.get("/runs/r3")).text


async def test_failed_run_shows_its_traceback_and_ancestors(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/runs/r3")).text
    assert "line 1 in join" in page
    assert page.index("/runs/r1") < page.index("/runs/r2")


async def test_app_page_says_why_it_failed(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/apps/broken")).text
    for text in ("&lt;no port&gt;", "exit code 1", "no module named `nope`", "2 serves"):
        assert text in page


async def test_app_page_links_to_what_the_app_names(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/apps/shop")).text
    for target in ("/apps/slow-start", "http://shop.localhost:7480/docs", "https://tea.example/"):
        assert f'href="{target}"' in page
    assert 'href="javascript:' not in page


@pytest.mark.parametrize("path", ["/nowhere", "/runs/r9", "/apps/nobody", "/apps/Not-A-Name"])
async def test_unknown_objects_are_404_and_list_what_exists(
    pages: httpx.AsyncClient, path: str
) -> None:
    page = await pages.get(path)
    assert page.status_code == 404
    assert "/apps/shop" in page.text
    assert "/runs/r1" in page.text


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_unknown_app_host_is_404_and_links_to_the_pages(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/some/path", headers={"host": "ghost.localhost:7480", **BROWSER})
    assert page.status_code == 404
    assert "no app `ghost`" in page.text
    assert 'href="http://localhost:7480/apps/shop"' in page.text


async def test_host_of_an_app_that_is_not_ready_says_so(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/", headers={"host": "slow-start.localhost:7480", **BROWSER})
    assert page.status_code == 503
    assert "deploying" in page.text
    assert "http-equiv" in page.text


@pytest.mark.parametrize(
    ("app", "code", "said"),
    [
        ("ghost", 404, "there is no app `ghost`: http://localhost:7480/ lists what there is"),
        (
            "shop",
            503,
            "no instance of app `shop` is ready: http://localhost:7480/apps/shop says why",
        ),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
async def test_a_program_that_calls_what_cannot_be_called_is_told_in_one_line(
    pages: httpx.AsyncClient, app: str, code: int, said: str, method: str
) -> None:
    page = await pages.request(method, "/items", headers={"host": f"{app}.localhost:7480"})
    assert (page.status_code, page.text) == (code, f"{said}\n")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.168.0.7:7480"])
async def test_foreign_hosts_learn_nothing(pages: httpx.AsyncClient, host: str) -> None:
    page = await pages.get("/", headers={"host": host})
    assert page.status_code == 421
    assert "shop" not in page.text


async def test_foreign_origins_learn_nothing(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/", headers={"origin": "http://evil.example"})
    assert page.status_code == 403
    assert "shop" not in page.text


async def test_pages_are_read_only(pages: httpx.AsyncClient) -> None:
    page = await pages.post("/apps/shop")
    assert page.status_code == 405
    assert page.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/style.css", "/nowhere"])
async def test_every_answer_carries_the_protective_headers(
    pages: httpx.AsyncClient, path: str
) -> None:
    headers = (await pages.get(path)).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


async def test_style_is_served_at_an_apps_host_too(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/style.css", headers={"host": "ghost.localhost:7480"})
    assert page.headers["content-type"].startswith("text/css")


async def test_without_a_server_the_page_says_so(tmp_path: Path) -> None:
    mesh = Mesh(f"unix:{tmp_path}/api.sock")
    transport = httpx.ASGITransport(app=build(mesh, 7480))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7480") as client:
        page = await client.get("/")
    await mesh.close()
    assert page.status_code == 503
    assert "does not answer" in page.text
