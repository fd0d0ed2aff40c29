"""A task calls an app: by the app's endpoint, and by an address that it is given.

The app is deployed with the tasks that depend on it, and is ready before they run.

    callmesh deploy examples/task_calls_app.py
    callmesh run examples/task_calls_app.py invoice_total --amounts '{"USD": 20, "CHF": 5}'
"""

import httpx
from fastapi import FastAPI, HTTPException

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

EUROS = {"EUR": 1.0, "USD": 0.9, "CHF": 1.04, "JPY": 0.006}

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
app = FastAPI(title="Exchange rates")

rates_env = FastAPIAppEnvironment(
    name="exchange-rates",
    app=app,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
)

invoices = flyte.TaskEnvironment(
    name="invoices",
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    depends_on=[rates_env],
)


@app.get("/rates/{currency}")
async def rate(currency: str) -> dict[str, float]:
    if currency not in EUROS:
        raise HTTPException(404, f"no rate for {currency}")
    return {"euros": EUROS[currency]}


@invoices.task
async def invoice_total(amounts: dict[str, float]) -> float:
    """Ask the app that this environment depends on: `rates_env.endpoint`."""
    total = 0.0
    async with httpx.AsyncClient(base_url=rates_env.endpoint) as rates:
        for currency, amount in amounts.items():
            answer = await rates.get(f"/rates/{currency}")
            answer.raise_for_status()
            total += amount * answer.json()["euros"]
    return round(total, 2)


@invoices.task
async def in_euros(rates_url: str, currency: str, amount: float) -> float:
    """Ask whichever app the caller names: its address is an argument."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{rates_url}/rates/{currency}")
        answer.raise_for_status()
    return round(amount * answer.json()["euros"], 2)


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(invoices)
    run = flyte.run(invoice_total, amounts={"USD": 20.0, "CHF": 5.0})
    run.wait()
    print(run.url, run.outputs())
    run = flyte.run(in_euros, rates_url=rates_env.endpoint, currency="JPY", amount=1000.0)
    run.wait()
    print(run.url, run.outputs())
