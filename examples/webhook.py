"""An app calls a task: webhooks that start runs of a deployed task.

The task is looked up by project, domain, name and version, so deploy it as v1:

    callmesh deploy examples/webhook.py --version v1
    callmesh call report-webhook /start -X POST -d '{"text": "to be or not to be"}'
    callmesh call report-webhook /wait  -X POST -d '{"text": "to be or not to be"}'
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

import callmesh as flyte
import callmesh.remote as remote
from callmesh.app.extras import FastAPIAppEnvironment

PLACE = {"project": "default", "domain": "development"}
TASK = "reports.most_used_words"

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn")
reports = flyte.TaskEnvironment(
    name="reports", image=image, resources=flyte.Resources(cpu=1, memory="256Mi")
)


@reports.task
async def most_used_words(text: str, top: int = 3) -> list[str]:
    return [word for word, _ in Counter(text.lower().split()).most_common(top)]


class Document(BaseModel):
    text: str


# The first app connects in each handler, and shows three ways to name the task.
app = FastAPI(title="Report webhook")
webhook_env = FastAPIAppEnvironment(
    name="report-webhook",
    app=app,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
    depends_on=[reports],
)


@app.post("/start")
async def start(document: Document) -> dict[str, str]:
    """Awaited `fetch`; the answer does not wait for the run."""
    await flyte.init_in_cluster.aio()
    task = await remote.TaskDetails.fetch(name=TASK, version="v1", **PLACE)
    run = await flyte.run.aio(task, text=document.text)
    return {"run_id": run.id, "url": run.url, "status": run.status}


@app.post("/start-lazily")
def start_lazily(document: Document) -> dict[str, str]:
    """Plain `fetch`, in a handler that may block: asked for at its first use."""
    flyte.init_in_cluster()
    task = remote.TaskDetails.fetch(name=TASK, version="v1", **PLACE)
    run = flyte.run(task, text=document.text)
    return {"run_id": run.id, "url": run.url, "status": run.status}


@app.post("/start-latest")
async def start_latest(document: Document) -> dict[str, str]:
    """`Task.get`, and whichever version was deployed last."""
    await flyte.init_in_cluster.aio()
    task = remote.Task.get(TASK, auto_version="latest", **PLACE)
    run = await flyte.run.aio(task, text=document.text)
    return {"run_id": run.id, "url": run.url, "status": run.status}


@app.post("/wait")
async def start_and_wait(document: Document) -> dict[str, object]:
    """The answer waits for the outputs."""
    await flyte.init_in_cluster.aio()
    task = await remote.TaskDetails.fetch(name=TASK, version="v1", **PLACE)
    run = await flyte.run.aio(task, text=document.text, top=2)
    await run.wait.aio()
    words = (await run.outputs.aio())[0]
    return {"run_id": run.id, "url": run.url, "status": run.status, "words": words}


# The second app connects once, before it takes its first request.
@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await flyte.init_in_cluster.aio()
    yield


desk = FastAPI(title="Report desk", lifespan=lifespan)
desk_env = FastAPIAppEnvironment(
    name="report-desk",
    app=desk,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
    depends_on=[reports],
)


@desk.post("/start")
async def start_at_desk(document: Document) -> dict[str, str]:
    task = await remote.TaskDetails.fetch(name=TASK, version="v1", **PLACE)
    run = await flyte.run.aio(task, text=document.text)
    return {"run_id": run.id, "url": run.url, "status": run.status}


@desk.get("/runs/{run_id}")
async def status(run_id: str) -> dict[str, str]:
    run = await remote.Run.get.aio(run_id)
    return {"run_id": run.id, "url": run.url, "status": run.status}


if __name__ == "__main__":
    flyte.init_from_config()
    for deployment in flyte.deploy(webhook_env, desk_env, version="v1"):
        print(deployment.url)
