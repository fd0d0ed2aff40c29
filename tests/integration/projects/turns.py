"""Deploys one app again and again, and calls it the moment each deploy returns."""

import http.client
import os
import sys
from urllib.parse import urlsplit

import fastapi

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

app = fastapi.FastAPI()
env = FastAPIAppEnvironment(name="turns", app=app, requires_auth=False)


@app.get("/")
def turn() -> str:
    return os.environ.get("TURN", "")


def call(endpoint: str) -> tuple[int, str]:
    place = urlsplit(endpoint)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


if __name__ == "__main__":
    flyte.init_from_config()
    for number in range(int(sys.argv[1])):
        found = flyte.with_servecontext(env_vars={"TURN": str(number)}).serve(env)
        print(number, *call(found.endpoint))
        if number % 3 == 2:
            found.delete()
            while "turns" in [each.name for each in flyte.remote.App.listall()]:
                pass
