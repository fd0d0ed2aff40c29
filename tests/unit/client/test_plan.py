"""Declarations and the request that they become."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import callmesh as flyte
from callmesh import plan
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.bundle import Bundle
from callmesh.errors import DeploymentError, ParameterMaterializationError
from callmesh.requirements import Resolved
from callmeshpb.v1 import common_pb2, scheduler_pb2

BUNDLE = Bundle("d" * 64, b"", Path("/"), (), ("lib",))
SCOPE = plan.Extra(project="p", domain="d")


async def asgi(_scope: object, _receive: object, _send: object) -> None: ...


api = FastAPIAppEnvironment(
    name="api",
    app=asgi,
    resources=flyte.Resources(cpu="500m", memory="1Gi"),
    secrets=flyte.Secret("key", group="team"),
    env_vars={"A": "1"},
    scaling=flyte.app.Scaling(replicas=(2, 4)),
    timeouts=flyte.app.Timeouts(request=5, startup=timedelta(seconds=90)),
    domain=flyte.app.Domain(custom_domain="api.example.org"),
    links=[flyte.app.Link("/docs", "Docs", is_relative=True)],
    requires_auth=False,
    health_path="/alive",
    prefer_local=True,
    parameters=[
        flyte.app.Parameter("text", "x", env_var="TEXT"),
        flyte.app.Parameter("flag", value=True),
        flyte.app.Parameter("back", flyte.app.AppEndpoint("backend"), env_var="BACK"),
    ],
)
program = flyte.app.AppEnvironment(name="program", args=["python", "x.py"], command="nice")
served = flyte.app.AppEnvironment(name="served", args=["unused"])


@served.server
def serve() -> None: ...


tasks = flyte.TaskEnvironment(name="jobs", depends_on=[api, program])


@tasks.task(
    retries=flyte.RetryStrategy(
        3, flyte.Backoff(timedelta(seconds=1), 2, cap=timedelta(seconds=9))
    ),
    timeout=flyte.Timeout(max_runtime=1.5, deadline=timedelta(minutes=1)),
)
def job(x: int) -> str:
    """What it does."""
    return str(x)


def test_an_app_with_everything() -> None:
    spec = plan.app_spec(api, BUNDLE, SCOPE)
    assert (spec.project, spec.domain, spec.name) == ("p", "d", "api")
    assert spec.kind == scheduler_pb2.APP_KIND_ASGI
    assert spec.protocol == common_pb2.PROTOCOL_HTTP
    assert (spec.code.bundle, spec.code.module, spec.code.attribute) == ("d" * 64, __name__, "api")
    assert list(spec.code.sys_path) == ["lib"]
    assert (spec.resources.cpu, spec.resources.memory) == (0.5, 1 << 30)
    assert (spec.secrets[0].key, spec.secrets[0].env_var) == ("key", "TEAM_KEY")
    assert (spec.min_replicas, spec.max_replicas) == (2, 4)
    assert (spec.timeouts.request.seconds, spec.timeouts.startup.seconds) == (5, 90)
    assert not spec.timeouts.HasField("drain")
    assert (spec.custom_domain, spec.health_path, spec.prefer_local) == (
        "api.example.org",
        "/alive",
        True,
    )
    text, flag, back = spec.parameters
    assert (text.text, text.env_var, flag.text, back.app_endpoint) == (
        "x",
        "TEXT",
        "true",
        "backend",
    )
    assert not spec.requires_auth


def test_the_kind_follows_from_what_there_is_to_run() -> None:
    command = plan.app_spec(program, BUNDLE, SCOPE)
    assert command.kind == scheduler_pb2.APP_KIND_COMMAND
    assert (list(command.command), list(command.args)) == (["nice"], ["python", "x.py"])
    assert command.code.module == ""
    assert command.min_replicas == 1
    server = plan.app_spec(served, BUNDLE, SCOPE)
    assert server.kind == scheduler_pb2.APP_KIND_SERVER
    assert not server.args
    with pytest.raises(DeploymentError, match="`empty` has nothing to run"):
        plan.app_spec(flyte.app.AppEnvironment(name="empty"), BUNDLE, SCOPE)


def test_tasks_carry_interface_retries_and_limits() -> None:
    spec = plan.task_environment_spec(tasks, BUNDLE, SCOPE)
    assert list(spec.depends_on) == ["api", "program"]
    (task,) = spec.tasks
    assert (task.name, task.function, task.docs) == ("jobs.job", "job", "What it does.")
    assert task.interface.parameters[0].name == "x"
    assert (task.retries.count, task.retries.base.seconds, task.retries.factor) == (3, 1, 2.0)
    assert task.retries.cap.seconds == 9
    assert task.timeouts.max_runtime.ToMilliseconds() == 1500
    assert task.timeouts.deadline.seconds == 60
    assert not task.timeouts.HasField("max_queued_time")


def test_the_version_says_what_is_deployed() -> None:
    one = plan.deploy_request([api, tasks], BUNDLE, SCOPE)
    two = plan.deploy_request([api, tasks], BUNDLE, SCOPE)
    other = plan.deploy_request([api, tasks], Bundle("e" * 64, b"", Path("/")), SCOPE)
    assert one.version == two.version != other.version
    assert {one.apps[0].version, one.task_environments[0].version} == {one.version}
    named = plan.deploy_request([tasks], BUNDLE, plan.Extra("p", "d", version="v1"))
    assert named.task_environments[0].version == "v1"


def test_what_is_decided_at_deploy_replaces_what_is_declared() -> None:
    extra = plan.Extra(
        "p",
        "d",
        env_vars={"A": "2", "B": "3"},
        values={"api": {"text": "y", "back": "http://elsewhere"}},
        images={api: Resolved(("httpx",), (("C", "4"),), "/w", "3.11", ())},
    )
    spec = plan.app_spec(api, BUNDLE, extra)
    assert dict(spec.env_vars) == {"A": "2", "B": "3"}
    assert [each.text for each in spec.parameters] == ["y", "true", "http://elsewhere"]
    assert (list(spec.image.requirements), spec.image.workdir) == (["httpx"], "/w")


def test_a_parameter_without_a_value_is_refused() -> None:
    env = flyte.app.AppEnvironment(
        name="lacks", args=["true"], parameters=[flyte.app.Parameter("x")]
    )
    with pytest.raises(ParameterMaterializationError, match="`x` of app `lacks` has no value"):
        plan.app_spec(env, BUNDLE, SCOPE)


def test_nothing_is_ignored_in_silence() -> None:
    env = flyte.TaskEnvironment(name="noisy", queue="fast")

    @env.task(cache="auto", report=True)
    def one() -> None: ...

    (line,) = plan.notices([env, api])
    assert line == "`noisy` asks for `queue`, `report`: kept, and not acted on yet"


def test_a_cache_has_a_version_of_the_body_alone() -> None:
    env = flyte.TaskEnvironment(name="kept", cache="auto")

    def body(salt: str, cached: object) -> str:
        @env.task(cache=cached, retries=len(salt))  # type: ignore[arg-type]
        def one(x: int, y: int = 0) -> int:
            """Add."""
            return x + y

        del env.tasks[one.name]
        return plan.task_spec(one).cache.version

    auto = body("", None)
    assert auto == body("more", "auto")
    assert len({auto, body("", flyte.Cache("auto", salt="x")), ""}) == 3
    assert body("", "disable") == ""
    one, two = (body("", flyte.Cache("override", version_override=v)) for v in "12")
    assert len({one, two, auto}) == 3
    for mistake in ("override", "sometimes", flyte.Cache("auto", ignored_inputs="z")):
        with pytest.raises((ValueError, TypeError), match=r"must be|needs a version"):
            body("", mistake)
