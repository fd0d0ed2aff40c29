"""A webhook environment: its options, and its app in local mode."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from callmesh import TaskEnvironment
from callmesh.app.extras import FastAPIPassthroughAuthMiddleware, FlyteWebhookAppEnvironment

tasks = TaskEnvironment(name="local-hooked")


@tasks.task
async def halve(x: int) -> float:
    if x < 0:
        raise ValueError("too small")
    return x / 2


@tasks.task
async def double(x: int) -> int:
    return 2 * x


def ask(env: FlyteWebhookAppEnvironment, *calls: tuple[str, str, Any]) -> list[tuple[int, Any]]:
    async def all_of_them() -> list[tuple[int, Any]]:
        way = httpx.ASGITransport(app=env.app)
        headers = {"authorization": "Bearer anything"}
        async with httpx.AsyncClient(
            transport=way, base_url="http://hook", headers=headers
        ) as client:
            answers = [await client.request(m, path, json=body) for m, path, body in calls]
        return [(each.status_code, each.json()) for each in answers]

    return asyncio.run(all_of_them())


def test_tasks_of_this_process_run_in_local_mode() -> None:
    env = FlyteWebhookAppEnvironment(name="hook")
    path = "/run-task/development/default/local-hooked.halve"
    done, failed, wrong, unknown = ask(
        env,
        ("POST", path, {"x": 3}),
        ("POST", path, {"x": -1}),
        ("POST", path, {"y": 1}),
        ("POST", "/run-task/development/default/nothing", {}),
    )
    assert [done[0], failed[0], wrong[0], unknown[0]] == [200, 200, 422, 404]
    name = done[1]["name"]
    shown, values, ended, broken, gone, me = ask(
        env,
        ("GET", f"/run/{name}", None),
        ("GET", f"/run/{name}/io", None),
        ("POST", f"/run/{name}/abort", None),
        ("GET", f"/run/{failed[1]['name']}", None),
        ("GET", "/run/local-none", None),
        ("GET", "/me", None),
    )
    assert (shown[1]["phase"], values[1]["outputs"]) == ("succeeded", {"o0": 1.5})
    assert (ended[0], broken[1]["phase"], gone[0]) == (409, "failed", 404)
    assert me[1]["subject"] == "local"


def test_endpoints_and_groups_add_up() -> None:
    env = FlyteWebhookAppEnvironment(name="hook", endpoint_groups=["core"], endpoints=["get_run"])
    assert env.enabled_endpoints == ("health", "me", "get_run")
    assert FlyteWebhookAppEnvironment(name="none", endpoints=[]).enabled_endpoints == ()
    assert env.clone_with("other").app.title == "Webhook: other"
    with pytest.raises(ValueError, match="`tasks`: must be of `all`"):
        FlyteWebhookAppEnvironment(name="hook", endpoint_groups=["tasks"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="`run`: must be of `health`"):
        FlyteWebhookAppEnvironment(name="hook", endpoints=["run"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="must be a list of names"):
        FlyteWebhookAppEnvironment(name="hook", task_allowlist="add")


def test_allow_lists_take_three_spellings() -> None:
    names = ["a.one", "p/a.two", "d/p/a.three"]
    env = FlyteWebhookAppEnvironment(name="hook", task_allowlist=names, app_allowlist=names)
    allowed = [
        ("d", "p", "a.one"),
        ("x", "p", "a.two"),
        ("d", "p", "a.three"),
    ]
    refused = [("d", "x", "a.two"), ("x", "p", "a.three"), ("d", "p", "a.four"), ("d", "p", "one")]
    assert all(env.allows_task(*each) for each in allowed)
    assert not any(env.allows_task(*each) for each in refused)
    assert all(env.allows_app(*each) for each in allowed)
    assert not any(env.allows_app(*each) for each in refused)
    nothing = FlyteWebhookAppEnvironment(name="hook", task_allowlist=[], app_allowlist=[])
    assert not nothing.allows_task("d", "p", "a.one")
    assert not nothing.allows_app("d", "p", "any")


@pytest.mark.parametrize("listed", ["halve", "default/halve", "local-hooked.halve"])
def test_a_task_that_is_allowed_by_one_name_is_allowed_by_all(listed: str) -> None:
    env = FlyteWebhookAppEnvironment(name="hook", task_allowlist=[listed])
    scope = "development/default"
    for name in ("halve", "local-hooked.halve"):
        (started,) = ask(env, ("POST", f"/run-task/{scope}/{name}", {"x": 3}))
        shown, described = ask(
            env, ("GET", f"/run/{started[1]['name']}", None), ("GET", f"/task/{scope}/{name}", None)
        )
        assert [started[0], shown[0], described[0]] == [200, 200, 200]
    refused = ask(
        env,
        ("POST", f"/run-task/{scope}/double", {"x": 3}),
        ("POST", f"/run-task/{scope}/local-hooked.double", {"x": 3}),
        ("POST", f"/run-task/{scope}/nothing", {}),
    )
    assert [status for status, _ in refused] == [403, 403, 403]


def test_an_app_on_the_list_of_one_scope_is_not_reached_in_another() -> None:
    env = FlyteWebhookAppEnvironment(name="hook", app_allowlist=["development/default/web"])
    own, other, another = ask(
        env,
        ("GET", "/app/web", None),
        ("GET", "/app/web?domain=production", None),
        ("POST", "/app/web/activate?project=theirs", None),
    )
    assert [own[0], other[0], another[0]] == [503, 403, 403]


def test_an_extractor_that_raises_finds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_request: object) -> None:
        raise RuntimeError("s3cret")

    async def reached(*_: object) -> None:
        raise AssertionError("without credentials")

    app = FastAPIPassthroughAuthMiddleware(reached, header_extractors=[broken])

    async def get() -> int:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://a"
        ) as client:
            return (await client.get("/")).status_code

    assert asyncio.run(get()) == 401
    assert "`broken` raised RuntimeError" in caplog.text
    assert "s3cret" not in caplog.text
