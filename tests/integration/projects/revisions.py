"""One app whose behaviour is chosen when it is deployed."""

import asyncio
import os
import sys

from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

VERSION = "one"
BEHAVIOUR = "good"
NAME = "rolling"

app = FastAPI()
env = FastAPIAppEnvironment(
    name=NAME,
    app=app,
    env_vars={"VERSION": VERSION, "BEHAVIOUR": BEHAVIOUR},
    timeouts=flyte.app.Timeouts(startup=5, drain=10),
    requires_auth=True,
)

if os.environ.get("BEHAVIOUR") == "crashes":
    print("cannot find the flux capacitor", file=sys.stderr)
    raise SystemExit(3)


@app.get("/")
async def version() -> str:
    return os.environ["VERSION"]


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return os.environ["VERSION"]
