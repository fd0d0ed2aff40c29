"""An app with a server function of its own, and hooks before and after it.

`on_startup` reads the guest book, `on_shutdown` writes it: it runs when the
instance is replaced or stopped, so the guests are still there afterwards.

    callmesh deploy examples/server_hooks.py
    callmesh call guest-book '/sign?name=Ada' -X POST
    callmesh logs guest-book
"""

import json
import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI

import callmesh as flyte

STATE = os.getenv("XDG_STATE_HOME") or Path.home() / ".local" / "state"
BOOK = Path(STATE) / "guest-book.json"

app = FastAPI(title="Guest book")
guests: list[str] = []

book_env = flyte.app.AppEnvironment(
    name="guest-book",
    image=flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn"),
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
)


@book_env.on_startup
async def open_book() -> None:
    if BOOK.exists():
        guests.extend(json.loads(BOOK.read_text()))
    print(f"opened the book at {len(guests)} guests")


@book_env.server
async def serve() -> None:
    config = uvicorn.Config(app, host="127.0.0.1", port=book_env.get_port())
    await uvicorn.Server(config).serve()


@book_env.on_shutdown
async def close_book() -> None:
    BOOK.parent.mkdir(parents=True, exist_ok=True)
    BOOK.write_text(json.dumps(guests))
    print(f"closed the book at {len(guests)} guests")


@app.get("/")
async def read() -> list[str]:
    return guests


@app.post("/sign")
async def sign(name: str) -> list[str]:
    guests.append(name)
    return guests


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(book_env)
    print(book_env.endpoint)
