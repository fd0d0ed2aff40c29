"""`deploy`, `serve` and `run` of a user's file, against a control plane of the test's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callmesh.cli import main as program
from callmesh.environment import _registry
from callmesh_wire import errors
from callmeshpb.v1 import common_pb2, scheduler_pb2

Capture = pytest.CaptureFixture[str]

MODULE = '''
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

async def asgi(scope, receive, send): ...

stock = FastAPIAppEnvironment(name="stock", app=asgi, requires_auth=False)
web = FastAPIAppEnvironment(name="web", app=asgi, requires_auth=False, depends_on=[stock])
work = flyte.TaskEnvironment(name="work", depends_on=[stock])

@work.task
def add(x: int, y: int = 2) -> int:
    """Add two numbers."""
    return x + y

@work.task
def greet(name: str, loud: bool = False, project: str = "") -> str:
    return name
'''


CYCLE = """
import callmesh as flyte
a = flyte.TaskEnvironment(name="a")
b = flyte.TaskEnvironment(name="b", depends_on=[a])
a.add_dependency(b)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user's file; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cli_shop.py"
    path.write_text(MODULE)
    known = list(_registry)
    yield str(path)
    sys.modules.pop("cli_shop", None)
    _registry[:] = known
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


@pytest.fixture
def deployable(mesh: Any) -> Any:
    """A control plane that takes deploys, whose apps get ready at once."""

    def deploy(request: scheduler_pb2.DeployRequest) -> scheduler_pb2.DeployResponse:
        answer = scheduler_pb2.DeployResponse(notices=["said once"])
        for spec in request.apps:
            answer.apps.append(scheduler_pb2.App(spec=spec, revision=1))
        for environment in request.task_environments:
            for each in environment.tasks:
                answer.tasks.append(scheduler_pb2.Task(environment=environment, spec=each))
        return answer

    def watch(request: scheduler_pb2.WatchAppRequest) -> list[scheduler_pb2.WatchAppResponse]:
        starting = scheduler_pb2.App(revision=1, state=scheduler_pb2.APP_STATE_DEPLOYING)
        starting.spec.name = request.name
        ready = mesh.ready_app(request.name)
        ready.revision = ready.serving_revision = 1
        return [
            scheduler_pb2.WatchAppResponse(app=starting),
            scheduler_pb2.WatchAppResponse(app=ready),
        ]

    mesh.handlers["SchedulerService/Deploy"] = deploy
    mesh.handlers["SchedulerService/WatchApp"] = watch
    return mesh


def runs(mesh: Any, end: Callable[[], scheduler_pb2.Run]) -> None:
    """Have submitted runs end as told."""

    def submit(request: scheduler_pb2.RunTaskRequest) -> scheduler_pb2.RunTaskResponse:
        name = request.submission.run_name or "r-abc"
        return scheduler_pb2.RunTaskResponse(run=scheduler_pb2.Run(name=name))

    def watch(_: Any) -> list[scheduler_pb2.WatchRunResponse]:
        waiting = scheduler_pb2.Run(
            phase=scheduler_pb2.RUN_PHASE_WAITING_FOR_RESOURCES, message="node `laptop` is full"
        )
        return [
            scheduler_pb2.WatchRunResponse(run=waiting),
            scheduler_pb2.WatchRunResponse(run=end()),
        ]

    mesh.handlers["SchedulerService/RunTask"] = submit
    mesh.handlers["SchedulerService/WatchRun"] = watch


def test_deploy_takes_every_environment_and_waits(
    deployable: Any, file: str, capsys: Capture
) -> None:
    assert program.run(["deploy", file, "--version", "v7"]) == 0
    request = deployable.last(scheduler_pb2.DeployRequest)
    assert [each.name for each in request.apps] == ["stock", "web"]
    assert [each.name for each in request.task_environments] == ["work"]
    assert (request.version, request.ephemeral) == ("v7", False)
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "app   stock  http://stock.localhost:7480",
        "app   web  http://web.localhost:7480",
        "task  work.add",
        "task  work.greet",
    ]
    assert "deployed 2 apps and 2 tasks, version v7" in said.err
    assert "app stock: deploying" in said.err
    assert "said once" in said.err
    assert "are ready" in said.err


def test_deploy_takes_the_named_environments_and_what_they_need(
    deployable: Any, file: str, capsys: Capture
) -> None:
    assert program.run(["deploy", file, "web", "--no-wait", "-o", "json"]) == 0
    request = deployable.last(scheduler_pb2.DeployRequest)
    assert [each.name for each in request.apps] == ["stock", "web"]
    assert not request.task_environments
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["apps"]] == [
        "stock",
        "web",
    ]


def test_a_refused_deploy_is_a_wrong_definition(
    deployable: Any, file: str, capsys: Capture
) -> None:
    def refuse(_: Any) -> Any:
        raise errors.InvalidArgumentError("app `web` depends on `gone`, which is not there")

    deployable.handlers["SchedulerService/Deploy"] = refuse
    assert program.run(["deploy", file]) == 2
    assert "depends on `gone`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("serving", "hint"), [(0, "`callmesh logs app/"), (3, "revision 3 goes on serving; ")]
)
def test_an_app_that_fails_ends_deploy_with_its_last_words(
    deployable: Any, file: str, capsys: Capture, serving: int, hint: str
) -> None:
    failed = deployable.failed_app()
    failed.revision, failed.serving_revision = 1, serving
    for each in failed.instances:
        each.revision = 1
    deployable.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=failed)
    ]
    assert program.run(["deploy", file, "web"]) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError: division by zero" in said.err
    assert f"hint: {hint}" in said.err
    assert said.out == ""


@pytest.mark.usefixtures("deployable")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nonexistent_thing\n", "ModuleNotFoundError"),
        ("def f():\n    1/0\nf()\n", "ZeroDivisionError"),
        (CYCLE, "a → b → a"),
        ("x = 1\n", "declares no environment"),
        ("import callmesh as f\ne = f.TaskEnvironment(name='Not Good')\n", "environment name"),
    ],
)
def test_mistakes_in_a_file_are_exit_code_2(
    file: str, capsys: Capture, content: str, said: str
) -> None:
    Path(file).write_text(content)
    assert program.run(["deploy", file]) == 2
    found = " ".join(capsys.readouterr().err.split())
    assert said in found
    assert "callmesh/cli" not in found


@pytest.mark.usefixtures("deployable")
def test_what_a_file_prints_while_it_is_imported_is_no_answer(file: str, capsys: Capture) -> None:
    Path(file).write_text("print('hello from the file')\n" + Path(file).read_text())
    assert program.run(["deploy", file, "-o", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["version"]
    assert "hello from the file" in said.err


@pytest.mark.usefixtures("deployable")
def test_unknown_environments_and_tasks_are_told(file: str, capsys: Capture) -> None:
    assert program.run(["deploy", file, "webb"]) == 2
    assert "hint: did you mean `web`?" in capsys.readouterr().err
    assert program.run(["run", file, "ad"]) == 2
    assert "hint: did you mean `add`?" in capsys.readouterr().err
    assert program.run(["run", file]) == 2
    assert "has `add`, `greet`" in " ".join(capsys.readouterr().err.split())
    assert program.run(["serve", file, "work"]) == 2
    assert "is an environment of tasks" in capsys.readouterr().err


def test_serve_prints_the_address(deployable: Any, file: str, capsys: Capture) -> None:
    assert program.run(["serve", file, "web", "-e", "TEA=green"]) == 0
    assert capsys.readouterr().out == "http://web.localhost:7480\n"
    request = deployable.last(scheduler_pb2.DeployRequest)
    assert [each.name for each in request.apps] == ["stock", "web"]
    assert dict(request.apps[1].env_vars) == {"TEA": "green"}


def test_run_registers_the_task_and_prints_its_result(
    deployable: Any, file: str, capsys: Capture
) -> None:
    runs(deployable, deployable.finished_run)
    assert program.run(["run", file, "add", "--x", "1"]) == 0
    said = capsys.readouterr()
    assert said.out == '{"sum": 3}\n'
    assert "node `laptop` is full" in said.err
    assert "`stock` is ready" in said.err
    deploy = deployable.last(scheduler_pb2.DeployRequest)
    assert deploy.ephemeral
    assert [each.name for each in deploy.apps] == ["stock"]
    submission = deployable.last(scheduler_pb2.RunTaskRequest).submission
    assert (submission.task.name, submission.task.version) == ("work.add", deploy.version)
    assert json.loads(submission.inputs["x"].json) == 1


def test_run_takes_our_options_after_the_task_too(
    deployable: Any, file: str, capsys: Capture
) -> None:
    runs(deployable, deployable.finished_run)
    line = ["run", file, "greet", "--name", "Ada", "--loud", "--no-deps", "-o", "json"]
    assert program.run([*line, "--project", "theirs", "--domain", "ours"]) == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "succeeded"
    assert not deployable.last(scheduler_pb2.DeployRequest).apps
    submission = deployable.last(scheduler_pb2.RunTaskRequest).submission
    inputs = {name: json.loads(value.json) for name, value in submission.inputs.items()}
    assert inputs == {"name": "Ada", "loud": True, "project": "theirs"}
    assert submission.task.scope.domain == "ours"


def test_a_failed_run_is_told_with_its_traceback(
    deployable: Any, file: str, capsys: Capture
) -> None:
    runs(deployable, deployable.failed_run)
    assert program.run(["run", file, "add", "--x", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "error: run `r-bad` failed: ValueError: no tea" in said.err
    assert "    raise ValueError('no tea')" in said.err
    assert "hint: `callmesh logs run/r-bad`" in said.err


@pytest.mark.usefixtures("file")
def test_a_deployed_task_is_checked_by_its_interface(deployable: Any, capsys: Capture) -> None:
    runs(deployable, deployable.finished_run)
    assert program.run(["run", "deployed-task", "add", "--x", "one"]) == 2
    assert "`--x` must be `int`, not `one`" in capsys.readouterr().err
    assert program.run(["run", "deployed-task", "add", "--help"]) == 0
    assert "--x int" in capsys.readouterr().out
    line = ["run", "--detach", "--name", "mine", "-e", "A=b", "deployed-task", "add", "--x", "4"]
    assert program.run(line) == 0
    assert capsys.readouterr().out == "mine\n"
    submission = deployable.last(scheduler_pb2.RunTaskRequest).submission
    assert submission.inputs["x"] == common_pb2.Value(json=b"4")
    assert dict(submission.run_env_vars) == {"A": "b"}
    assert submission.task.version == "v1"


@pytest.mark.usefixtures("deployable")
def test_the_help_of_a_file_lists_its_tasks(file: str, capsys: Capture) -> None:
    assert program.run(["run", file, "--help"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"Usage: callmesh run {file} TASK [--ARGUMENT VALUE]..."
    assert "  add    Add two numbers." in said


@pytest.mark.usefixtures("deployable")
def test_the_help_of_a_task_needs_no_mesh(
    file: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLMESH_ENDPOINT", "unix:/nowhere")
    assert program.run(["run", file, "add", "--help"]) == 0
    said = capsys.readouterr().out
    assert "Add two numbers." in said
    assert "[default: 2]" in said
