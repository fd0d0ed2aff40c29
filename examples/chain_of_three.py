"""Three apps in a row: `ticket-office` asks `fares`, `fares` asks `distances`.

Each starts once the one that it depends on is ready.

    callmesh deploy examples/chain_of_three.py
    callmesh call ticket-office '/tickets?start=Basel&end=Bern'
"""

import httpx
from fastapi import FastAPI, HTTPException

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

KILOMETRES = {("Basel", "Bern"): 95, ("Bern", "Thun"): 31}
client = httpx.AsyncClient()

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
small = flyte.Resources(cpu=1, memory="256Mi")

distances = FastAPI(title="Distances")
distances_env = FastAPIAppEnvironment(
    name="distances", app=distances, image=image, resources=small, requires_auth=False
)

fares = FastAPI(title="Fares")
fares_env = FastAPIAppEnvironment(
    name="fares",
    app=fares,
    image=image,
    resources=small,
    requires_auth=False,
    depends_on=[distances_env],
)

office = FastAPI(title="Ticket office")
office_env = FastAPIAppEnvironment(
    name="ticket-office",
    app=office,
    image=image,
    resources=small,
    requires_auth=False,
    depends_on=[fares_env],
)


async def ask(url: str, **params: str) -> float:
    answer = await client.get(url, params=params)
    if answer.status_code == 404:
        raise HTTPException(404, answer.json()["detail"])
    answer.raise_for_status()
    return answer.json()


@distances.get("/kilometres")
async def kilometres(start: str, end: str) -> int:
    if (start, end) not in KILOMETRES:
        raise HTTPException(404, f"no line from {start} to {end}")
    return KILOMETRES[start, end]


@fares.get("/fare")
async def fare(start: str, end: str) -> float:
    distance = await ask(f"{distances_env.endpoint}/kilometres", start=start, end=end)
    return round(2.5 + 0.2 * distance, 2)


@office.get("/tickets")
async def ticket(start: str, end: str) -> dict[str, object]:
    price = await ask(f"{fares_env.endpoint}/fare", start=start, end=end)
    return {"from": start, "to": end, "price": price}


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(office_env)[0].wait()
    way = {"start": "Basel", "end": "Bern"}
    print(httpx.get(f"{office_env.endpoint}/tickets", params=way).json())
