"""An A/B test: a root app sends each visitor to one of two variants.

A visitor meets the same variant every time. `/tally` says how many met which.

    callmesh deploy examples/ab_test.py
    callmesh call banner '/?visitor=ada'
"""

import zlib
from collections import Counter

import httpx
from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
small = flyte.Resources(cpu=1, memory="256Mi")

plain = FastAPI(title="Banner, variant A")
plain_env = FastAPIAppEnvironment(
    name="banner-a", app=plain, image=image, resources=small, requires_auth=False
)

loud = FastAPI(title="Banner, variant B")
loud_env = FastAPIAppEnvironment(
    name="banner-b", app=loud, image=image, resources=small, requires_auth=False
)

root = FastAPI(title="Banner")
root_env = FastAPIAppEnvironment(
    name="banner",
    app=root,
    image=image,
    resources=small,
    requires_auth=False,
    depends_on=[plain_env, loud_env],
)
client = httpx.AsyncClient()
VARIANTS = {"a": plain_env, "b": loud_env}
met: Counter[str] = Counter()


@plain.get("/banner")
async def plain_banner(visitor: str) -> str:
    return f"Good to see you, {visitor}."


@loud.get("/banner")
async def loud_banner(visitor: str) -> str:
    return f"{visitor.upper()}! YOU ARE BACK!"


@root.get("/")
async def banner(visitor: str = "stranger") -> dict[str, str]:
    variant = "ab"[zlib.crc32(visitor.encode()) % 2]
    url = f"{VARIANTS[variant].endpoint}/banner"
    answer = await client.get(url, params={"visitor": visitor})
    answer.raise_for_status()
    met[variant] += 1
    return {"variant": variant, "banner": answer.json()}


@root.get("/tally")
async def tally() -> dict[str, int]:
    return dict(met)


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(root_env)[0].wait()
    for visitor in ("ada", "grace", "edsger", "barbara"):
        print(httpx.get(root_env.endpoint, params={"visitor": visitor}).json())
