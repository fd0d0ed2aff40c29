"""Deploy and serve against a control plane over gRPC."""

from __future__ import annotations

from typing import Any

import pytest

import callmesh as flyte
from callmesh import errors, settings
from callmesh._places import Place
from callmesh.remote.app import failure_text
from callmeshpb.v1 import common_pb2, scheduler_pb2

back = flyte.app.AppEnvironment(name="back", args=["true"], requires_auth=False)
front = flyte.app.AppEnvironment(
    name="front",
    args=["true"],
    depends_on=[back],
    parameters=[flyte.app.Parameter("p", "declared", env_var="P")],
)
jobs = flyte.TaskEnvironment(name="jobs", depends_on=[front])


@jobs.task
def job(x: int) -> int:
    return x


def state(name: str, wire: str, serving: int = 0, **more: Any) -> scheduler_pb2.App:
    app = scheduler_pb2.App(revision=1, serving_revision=serving, state=f"APP_STATE_{wire}", **more)
    app.spec.name = name
    return app


def test_one_transaction_and_one_deployment_for_a_chain(mesh: Any) -> None:
    (deployment,) = flyte.deploy(jobs)
    (request,) = mesh.deploys
    assert [app.name for app in request.apps] == ["back", "front"]
    assert [env.name for env in request.task_environments] == ["jobs"]
    assert request.request_id
    assert list(deployment.envs) == ["back", "front", "jobs"]
    assert deployment.url == "http://front.localhost/"
    assert deployment.version == request.version
    assert "`jobs`" in deployment.summary_repr()
    rows = [dict(row) for row in deployment.table_repr()]
    assert [(row["type"], row["name"]) for row in rows] == [
        ("App", "back"),
        ("App", "front"),
        ("Task", "jobs.job"),
    ]
    assert list(mesh.blobs) == [request.apps[0].code.bundle]


async def test_the_code_is_sent_once(mesh: Any) -> None:
    await flyte.deploy.aio(jobs)
    await flyte.deploy.aio(jobs)
    assert mesh.calls.count("BlobService/Upload") == 1
    one, two = mesh.deploys
    assert one.version == two.version
    assert one.request_id != two.request_id


def test_several_roots_are_several_deployments_of_one_request(mesh: Any) -> None:
    deployments = flyte.deploy(back, jobs, version="v1", project="p", domain="d")
    assert [list(each.envs) for each in deployments] == [["back"], ["back", "front", "jobs"]]
    (request,) = mesh.deploys
    assert (request.version, request.scope.project, request.scope.domain) == ("v1", "p", "d")


def test_a_dry_run_checks_and_sends_nothing(mesh: Any) -> None:
    (deployment,) = flyte.deploy(jobs, dry_run=True)
    assert list(deployment.envs) == ["back", "front", "jobs"]
    assert mesh.calls == []


def test_mistakes_are_found_before_any_network(mesh: Any) -> None:
    cycle = flyte.TaskEnvironment(name="cycle")
    other = flyte.TaskEnvironment(name="other", depends_on=[cycle])
    cycle.add_dependency(other)
    for wrong, text in (
        ([cycle], "cycle → other → cycle"),
        ([], "nothing was named"),
        (["x"], "only environments can be deployed"),
        ([flyte.TaskEnvironment(name="inside")], "must be a variable of module"),
    ):
        with pytest.raises(errors.DeploymentError, match=text):
            flyte.deploy(*wrong)  # type: ignore[arg-type]
    with pytest.raises(errors.DeploymentError, match="needs a `version`"):
        flyte.deploy(jobs, copy_style="none")
    assert mesh.calls == []


def test_what_the_mesh_refuses_is_a_deployment_error(mesh: Any) -> None:
    def refuse(_: Any) -> Any:
        raise errors.InvalidArgumentError("app `x` depends on `y`, which does not exist")

    mesh.deploy = refuse
    with pytest.raises(errors.DeploymentError, match="`x` depends on `y`"):
        flyte.deploy(jobs)


def test_a_mesh_that_is_not_there_is_said_to_be_away() -> None:
    place = Place("unix:/nowhere/api.sock", "", "a test")
    settings.use(settings.Settings(mode=settings.REMOTE, place=place))
    with pytest.raises(errors.UnavailableError, match=r"from a test\) cannot be reached"):
        flyte.deploy(jobs)


def test_waiting_tells_each_change_and_ends_when_ready(mesh: Any) -> None:
    told: list[tuple[str, str, str]] = []
    (deployment,) = flyte.deploy(back)
    waits = common_pb2.Condition(
        type="Progressing", status=common_pb2.CONDITION_STATUS_FALSE, message="no slot"
    )
    mesh.apps["back"] = [
        state("back", "PENDING", conditions=[waits]),
        state("back", "PENDING", conditions=[waits]),
        state("back", "READY", serving=1),
    ]
    same = deployment.wait(timeout=10, progress=lambda p: told.append((p.app, p.state, p.message)))
    assert same is deployment
    assert told == [("back", "pending", "no slot"), ("back", "ready", "")]
    assert deployment.apps[0].is_active()


def test_a_failure_ends_the_wait_with_its_reason_and_last_lines(mesh: Any) -> None:
    (deployment,) = flyte.deploy(back)
    why = common_pb2.Condition(
        type="Ready", status=common_pb2.CONDITION_STATUS_FALSE, message="it exits with 1"
    )
    instance = scheduler_pb2.Instance(revision=1)
    instance.status.log_tail.extend(["first", "last line"])
    mesh.apps["back"] = [state("back", "FAILED", conditions=[why], instances=[instance])]
    with pytest.raises(errors.DeploymentError, match=r"it exits with 1[\s\S]*last line"):
        deployment.wait()


def test_a_wait_ends_at_the_callers_deadline(mesh: Any) -> None:
    (deployment,) = flyte.deploy(back)
    mesh.apps["back"] = [state("back", "PENDING")]
    with pytest.raises(errors.DeadlineError, match=r"not ready within 0\.2 s: `back`"):
        deployment.wait(timeout=0.2)


@pytest.mark.parametrize("reason", ["Unschedulable", "DependencyMissing"])
def test_what_others_have_to_end_is_waited_for_as_long_as_a_start(mesh: Any, reason: str) -> None:
    (deployment,) = flyte.deploy(back)
    waits = common_pb2.Condition(
        type="Progressing",
        status=common_pb2.CONDITION_STATUS_FALSE,
        reason=reason,
        message="revision 1 fits no node: it is full",
    )
    app = state("back", "PENDING", conditions=[waits])
    app.spec.timeouts.startup.FromMilliseconds(100)
    mesh.apps["back"] = [app]
    with pytest.raises(errors.DeploymentError, match=r"`back` revision 1 fits no node: it is full"):
        deployment.wait(timeout=10)


def test_serve_returns_a_ready_app(mesh: Any) -> None:
    mesh.apps["back"] = [state("back", "READY", serving=1)]
    app = flyte.serve(back)
    assert (app.name, app.is_active()) == ("back", True)


def test_serving_takes_values_and_variables(mesh: Any) -> None:
    mesh.apps["back"] = [state("back", "READY", serving=1)]
    mesh.apps["front"] = [state("front", "READY", serving=1)]
    context = flyte.with_servecontext(env_vars={"A": "1"}, input_values={"front": {"p": 5}})
    context.serve(front)
    spec = {app.name: app for app in mesh.deploys[0].apps}["front"]
    assert (spec.env_vars["A"], spec.parameters[0].text) == ("1", "5")
    wrong = flyte.with_servecontext(parameter_values={"front": {"q": 5}})
    with pytest.raises(errors.ParameterMaterializationError, match="`q` of app `front`"):
        wrong.serve(front)


def test_a_run_output_is_looked_up_at_deploy(mesh: Any) -> None:
    mesh.runs["old"] = scheduler_pb2.Run(
        name="old",
        phase=scheduler_pb2.RUN_PHASE_SUCCEEDED,
        outputs=[common_pb2.Value(json=b'{"model": "m1"}')],
    )
    wanted = flyte.app.RunOutput(type="string", run_name="old", getter=(0, "model"))
    value = {"front": {"p": wanted}}
    mesh.apps["back"] = [state("back", "READY", serving=1)]
    mesh.apps["front"] = [state("front", "READY", serving=1)]
    flyte.with_servecontext(parameter_values=value).serve(front)
    spec = {app.name: app for app in mesh.deploys[0].apps}["front"]
    assert spec.parameters[0].text == "m1"
    newest = flyte.app.RunOutput(type="string", task_name="jobs.job", getter=(0, "model"))
    flyte.with_servecontext(parameter_values={"front": {"p": newest}}).serve(front)
    lacking = flyte.app.RunOutput(type="string", run_name="old", getter=(0, "none"))
    with pytest.raises(errors.ParameterMaterializationError, match="has no 'none'"):
        flyte.with_servecontext(parameter_values={"front": {"p": lacking}}).serve(front)


def test_apps_are_read_models(mesh: Any) -> None:
    mesh.apps["back"] = [state("back", "READY", serving=1, url="http://back/")]
    app = flyte.remote.App.get("back")
    assert (app.name, app.state, app.url, app.revision) == ("back", "ready", "http://back/", 1)
    with pytest.raises(
        errors.AppNotFoundError, match="`nope` is not deployed in project `default`"
    ):
        flyte.remote.App.get("nope")


def test_a_failure_is_told_once_where_both_conditions_tell_it() -> None:
    why = "revision 1 was not ready within 4 s"
    both = [
        common_pb2.Condition(type=kind, status="CONDITION_STATUS_FALSE", message=message)
        for kind, message in (("Progressing", f"{why}\nlast words"), ("Ready", why))
    ]
    text = failure_text(state("web", "FAILED", conditions=both))
    assert text == f"app `web` revision 1 failed: {why}\nlast words"
