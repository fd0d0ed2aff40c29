"""A browser calls an app: a Streamlit dashboard, which in turn asks another app.

    callmesh deploy examples/streamlit_dashboard.py
    callmesh open dashboard

The mesh keeps a visitor at one instance of the dashboard (Streamlit's sessions
live in its memory) and passes its WebSocket.
"""

import math

from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn", "httpx")
tides = FastAPI(title="Tides")

tides_env = FastAPIAppEnvironment(
    name="tides",
    app=tides,
    image=image,
    resources=flyte.Resources(cpu=1, memory="256Mi"),
    requires_auth=False,
)

dashboard_env = flyte.app.AppEnvironment(
    name="dashboard",
    image=image.with_pip_packages("streamlit"),
    args=[
        *("streamlit", "run", "ui/tide_table.py", "--server.port", "$PORT"),
        *("--server.address", "127.0.0.1", "--server.headless", "true"),
        *("--browser.gatherUsageStats", "false"),
    ],
    inputs=[flyte.app.Input(name="tides_url", value=flyte.app.AppEndpoint(app_name="tides"))],
    include=["ui/tide_table.py"],
    resources=flyte.Resources(cpu=1, memory="512Mi"),
    requires_auth=False,
    depends_on=[tides_env],
)


@tides.get("/height/{harbour}")
async def height(harbour: str, hours: int = 24) -> list[float]:
    """Metres, hour by hour."""
    range_ = 1 + len(harbour) % 4
    return [round(range_ * math.sin(2 * math.pi * hour / 12.4), 2) for hour in range(hours)]


if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(dashboard_env)
    print(dashboard_env.endpoint)
