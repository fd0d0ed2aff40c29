"""A browser calls an app that knows nothing of the mesh: a plain Python program.

The program listens on the port that it finds in PORT. `args` starts it.

    callmesh deploy examples/plain_server.py
    callmesh open world-clock
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import callmesh as flyte

HOURS = {"Lima": -5, "Dakar": 0, "Nairobi": 3, "Tokyo": 9}

clock_env = flyte.app.AppEnvironment(
    name="world-clock",
    image=flyte.Image.from_debian_base(),
    args=["python", "plain_server.py", "--serve"],
    include=["plain_server.py"],
    resources=flyte.Resources(cpu=1, memory="128Mi"),
    requires_auth=False,
)


class Clock(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        now = datetime.now(UTC)
        rows = "".join(
            f"<tr><th>{city}<td>{now + timedelta(hours=hours):%H:%M:%S}"
            for city, hours in HOURS.items()
        )
        body = f"<!doctype html><title>World clock</title><table>{rows}</table>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        port = int(os.environ["PORT"])
        ThreadingHTTPServer(("127.0.0.1", port), Clock).serve_forever()
    else:
        flyte.init_from_config()
        flyte.deploy(clock_env)
        print(clock_env.endpoint)
