"""An app calls an app: `env.endpoint` in a handler.

The desk starts once the phrase book, which it depends on, is ready.

    callmesh deploy examples/app_calls_app.py
    callmesh call front-desk '/welcome/Ada?language=fr'
"""

import httpx
from fastapi import FastAPI, HTTPException

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

HELLOS = {"en": "Welcome", "fr": "Bienvenue", "eo": "Bonvenon"}

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
phrases = FastAPI(title="Phrase book")
desk = FastAPI(title="Front desk")
# One client for the app's life: to make one costs more than a call.
client = httpx.AsyncClient()

phrases_env = FastAPIAppEnvironment(
    name="phrase-book",
    app=phrases,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
)

desk_env = FastAPIAppEnvironment(
    name="front-desk",
    app=desk,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
    depends_on=[phrases_env],
)


@phrases.get("/hello/{language}")
async def hello(language: str) -> str:
    if language not in HELLOS:
        raise HTTPException(404, f"no phrase in {language}")
    return HELLOS[language]


@desk.get("/welcome/{guest}")
async def welcome(guest: str, language: str = "en") -> dict[str, str]:
    answer = await client.get(f"{phrases_env.endpoint}/hello/{language}")
    answer.raise_for_status()
    return {"message": f"{answer.json()}, {guest}!"}


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(desk_env)[0].wait()
    print(httpx.get(f"{desk_env.endpoint}/welcome/Ada").json()["message"])
