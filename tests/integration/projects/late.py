"""An app that takes a while to be ready."""

import asyncio

from fastapi import FastAPI

from callmesh.app.extras import FastAPIAppEnvironment

late = FastAPI()
late_env = FastAPIAppEnvironment(name="late", app=late, requires_auth=False)


@late_env.on_startup
async def wait_a_little() -> None:
    print("late begins", flush=True)
    await asyncio.sleep(6)
