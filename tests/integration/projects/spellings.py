"""The spellings that published examples use: some are not those of the package they are for."""

import asyncio
import logging
import os
import sys

import fastapi

import callmesh as flyte
from callmesh import app as flyte_app
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.remote import Run, Task, TaskDetails

image = flyte.app.Image.from_debian_base(python_version=sys.version_info[:2]).with_pip_packages(
    "fastapi", "uvicorn", "httpx"
)
back_app, front_app = fastapi.FastAPI(), fastapi.FastAPI()
back = FastAPIAppEnvironment(
    name="spelt-back", app=back_app, image=image, requires_auth=False, port=8080
)
front = FastAPIAppEnvironment(
    name="spelt-front",
    app=front_app,
    image=image,
    inputs=[
        flyte.app.Input(name="backend_url", value=flyte.app.AppEndpoint(app_name="spelt-back")),
        flyte.app.Input(name="retries", value=3),
        flyte.app.Parameter(name="mode", value="fast", env_var="MODE"),
    ],
    depends_on=[back],
    requires_auth=False,
    resources=flyte.Resources(cpu="100m", memory="256Mi"),
)
tasks = flyte.TaskEnvironment(name="spelt-tasks", image=image)


@tasks.task
async def process_data(x: int) -> int:
    print("processing", flush=True)
    return 2 * x


@back_app.get("/")
def hello() -> str:
    return "back"


@front_app.get("/")
async def here() -> dict:
    import httpx

    async with httpx.AsyncClient(base_url=os.environ["BACKEND_URL"]) as client:
        answer = (await client.get("/")).json()
    return {
        "back": answer,
        "variables": [os.environ["MODE"], os.environ["RETRIES"]],
        "get_input": flyte_app.get_input("mode"),
        "get_parameter": flyte.app.get_parameter("retries"),
        "same": os.environ["BACKEND_URL"] == back.endpoint,
    }


@front_app.post("/start")
async def start(x: int) -> dict:
    task = await TaskDetails.fetch(name="process_data", auto_version="latest")
    run = await flyte.run.aio(task, x=x)
    return {"run_id": run.id, "url": run.url}


@front_app.get("/status/{name}")
async def status(name: str) -> dict:
    run = await Run.get.aio(name=name)
    await run.wait.aio()
    return {"status": run.status, "outputs": list(await run.outputs.aio())}


@front_app.get("/blocking")
async def blocking(x: int) -> dict:
    run = flyte.run(Task.get("spelt-tasks.process_data", auto_version="latest"), x=x)
    run.wait()
    return {"outputs": run.outputs()[0], "done": run.done(), "phase": run.phase}


@front_app.websocket("/watch")
async def watch(socket: fastapi.WebSocket) -> None:
    await socket.accept()
    task = flyte.remote.TaskDetails.fetch("spelt-tasks.process_data")
    run = await flyte.run.aio(task, x=await socket.receive_json())
    async for update in run.stream():
        await socket.send_json({"status": update.status, "message": update.message})
    await socket.close()


async def main() -> None:
    await flyte.init_from_config.aio(log_level=logging.INFO)
    deployments = await flyte.deploy.aio(front, project="default", domain="development")
    print(len(deployments), sorted(deployments[0].envs), deployments[0].url)
    (registered,) = await flyte.deploy.aio(tasks)
    print(registered.table_repr()[0][1][1], repr(registered.url))
    for name, value in {"spelt-front": {"mode": "slow"}}.items():
        served = await flyte.with_servecontext(
            mode="remote", input_values={name: value}, env_vars={"EXTRA": "1"}
        ).serve.aio(front)
    print(served.url == deployments[0].url, served.endpoint.startswith("http://127.0.0.1:"))
    run = await flyte.with_runcontext(mode="remote").run.aio(process_data, x=4)
    print(run.id == run.name, run.status in flyte.ActionPhase, await run.outputs.aio())


if __name__ == "__main__":
    asyncio.run(main())
