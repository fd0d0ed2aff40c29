"""An app calls apps whose addresses are inputs: nothing but a name ties them.

`stock_url` names no environment variable, so it is exported as STOCK_URL;
`price_url` names PRICE_SERVICE. Another stock app is one changed line.

    callmesh deploy examples/endpoint_inputs.py
    callmesh call shop-window /items/teapot
"""

import os

import httpx
from fastapi import FastAPI, HTTPException

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

SHELF = {"teapot": 4, "cup": 31}
CENTS = {"teapot": 2950, "cup": 700}
client = httpx.AsyncClient()

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
small = flyte.Resources(cpu=1, memory="256Mi")

stock = FastAPI(title="Stock")
stock_env = FastAPIAppEnvironment(
    name="stock", app=stock, image=image, resources=small, requires_auth=False
)

prices = FastAPI(title="Prices")
prices_env = FastAPIAppEnvironment(
    name="prices", app=prices, image=image, resources=small, requires_auth=False
)

shop = FastAPI(title="Shop window")
shop_env = FastAPIAppEnvironment(
    name="shop-window",
    app=shop,
    image=image,
    resources=small,
    requires_auth=False,
    inputs=[
        flyte.app.Input(name="stock_url", value=flyte.app.AppEndpoint(app_name="stock")),
        flyte.app.Input(
            name="price_url",
            value=flyte.app.AppEndpoint(app_name="prices"),
            env_var="PRICE_SERVICE",
        ),
    ],
    depends_on=[stock_env, prices_env],
)


@stock.get("/count/{item}")
async def count(item: str) -> int:
    return SHELF.get(item, 0)


@prices.get("/cents/{item}")
async def cents(item: str) -> int:
    if item not in CENTS:
        raise HTTPException(404, f"no price for {item}")
    return CENTS[item]


@shop.get("/items/{item}")
async def show(item: str) -> dict[str, object]:
    left = await client.get(f"{os.getenv('STOCK_URL')}/count/{item}")
    price = await client.get(f"{os.getenv('PRICE_SERVICE')}/cents/{item}")
    left.raise_for_status()
    price.raise_for_status()
    return {"item": item, "left": left.json(), "price": price.json() / 100}


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(shop_env)[0].wait()
    print(httpx.get(f"{shop_env.endpoint}/items/teapot").json())
