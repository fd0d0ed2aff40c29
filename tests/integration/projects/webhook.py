"""A webhook, what it may reach, and what it may not."""

import asyncio

import fastapi

import callmesh as flyte
from callmesh import remote
from callmesh.app.extras import (
    FastAPIAppEnvironment,
    FastAPIPassthroughAuthMiddleware,
    FlyteWebhookAppEnvironment,
)

tasks = flyte.TaskEnvironment(name="hooked")
target_app = fastapi.FastAPI()
target = FastAPIAppEnvironment(name="hook-target", app=target_app, requires_auth=False)
hidden = FastAPIAppEnvironment(name="hook-hidden", app=fastapi.FastAPI(), requires_auth=False)
passing_app = fastapi.FastAPI()
passing_app.add_middleware(
    FastAPIPassthroughAuthMiddleware,
    header_extractors=[FastAPIPassthroughAuthMiddleware.extract_custom_header("X-Api-Key")],
    excluded_paths={"/health"},
)
passing = FastAPIAppEnvironment(name="hook-passing", app=passing_app, requires_auth=False)


@tasks.task
async def add(x: int, y: int = 1) -> int:
    return x + y


@tasks.task
async def rest(seconds: float) -> None:
    await asyncio.sleep(seconds)


@tasks.task
async def secret_sauce() -> str:
    return "no"


@target_app.post("/echo")
def echo(body: dict, q: str = "") -> dict:
    return {"body": body, "q": q}


@target_app.get("/teapot")
def teapot() -> None:
    raise fastapi.HTTPException(418, "short and stout")


@passing_app.get("/")
def own_name() -> str:
    return remote.User.get().subject()


hook = FlyteWebhookAppEnvironment(
    name="hook",
    depends_on=[target],
    task_allowlist=["hooked.add", "development/default/rest"],
    app_allowlist=["development/default/hook-target", "hook-nowhere"],
)
narrow = FlyteWebhookAppEnvironment(
    name="hook-narrow", endpoint_groups=["core"], endpoints=["run_task"]
)
