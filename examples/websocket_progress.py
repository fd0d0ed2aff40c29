"""An app calls a task and streams what becomes of it over a WebSocket.

Open http://baker.localhost:7480/ in a browser, or listen from a terminal:

    callmesh deploy examples/websocket_progress.py
    python examples/websocket_progress.py
"""

import asyncio

from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "websockets")
small = flyte.Resources(cpu=1, memory="256Mi")

oven = flyte.TaskEnvironment(name="oven", image=image, resources=small)
app = FastAPI(title="Baker")
baker_env = FastAPIAppEnvironment(
    name="baker", app=app, image=image, resources=small, requires_auth=False, depends_on=[oven]
)

PAGE = """<!doctype html><title>Baker</title>
<h1>Bread, as it happens</h1><ol id=log></ol>
<script>
const socket = new WebSocket(`ws://${location.host}/bake?seconds=2`)
socket.onmessage = (event) => {
  const line = document.createElement("li")
  line.textContent = event.data
  document.getElementById("log").append(line)
}
</script>"""


@oven.task
async def bake(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"bread, baked for {seconds:g} s"


@app.get("/")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.websocket("/bake")
async def bake_and_watch(socket: WebSocket, seconds: float = 0.5) -> None:
    await socket.accept()
    await flyte.init_in_cluster.aio()
    run = await flyte.run.aio(bake, seconds=seconds)
    await socket.send_json({"run": run.id, "url": run.url})
    async for update in run.stream():
        await socket.send_json({"status": update.status, "message": update.message})
    await socket.send_json({"result": (await run.outputs.aio())[0]})
    await socket.close()


async def listen() -> None:
    import websockets

    address = baker_env.endpoint.replace("http://", "ws://")
    async with websockets.connect(f"{address}/bake?seconds=1") as socket:
        async for message in socket:
            print(message)


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(baker_env)[0].wait()
    asyncio.run(listen())
