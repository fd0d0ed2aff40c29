"""One call of each pattern: who calls whom, and how it is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import websockets

import callmesh as flyte
import callmesh.remote as remote

TEXT = {"text": "to be or not to be that is the question"}
PAGES = ["the quick brown fox", "jumped over", "a lazy dog"]

FILES = {
    "task_calls_app.py": (),
    "app_calls_app.py": (),
    "grpc_greeter.py": (),
    "endpoint_inputs.py": (),
    "ab_test.py": (),
    "chain_of_three.py": (),
    "webhook.py": ("--version", "v1"),
    "websocket_progress.py": (),
    "streamlit_dashboard.py": (),
    "plain_server.py": (),
    "server_hooks.py": (),
    "task_calls_task.py": (),
    "retries_and_timeouts.py": (),
    "run_handles.py": (),
}
"""The examples, and what `callmesh deploy` needs besides the file."""


@dataclass(slots=True)
class Mesh:
    """The running mesh, for callers outside it."""

    ingress_port: int
    endpoints: dict[str, str] = field(default_factory=dict)
    client: httpx.Client = field(default_factory=httpx.Client)

    def learn(self) -> None:
        """Ask once where the apps are, so that calls are timed and nothing else."""
        self.endpoints = {app.name: app.endpoint for app in remote.App.listall()}

    def endpoint(self, app: str) -> str:
        """An app's address for code on this machine. KeyError for one that is not there."""
        return self.endpoints[app]

    def ask(self, app: str, path: str, body: dict[str, str] | None = None) -> str:
        """Call an app as any local program would."""
        url = f"{self.endpoint(app)}{path}"
        answer = self.client.get(url) if body is None else self.client.post(url, json=body)
        answer.raise_for_status()
        return answer.text

    def browse(self, app: str, path: str = "/") -> str:
        """Call an app as a browser would: at the ingress, by host name."""
        answer = self.client.get(
            f"http://127.0.0.1:{self.ingress_port}{path}",
            headers={"Host": f"{app}.localhost:{self.ingress_port}"},
        )
        answer.raise_for_status()
        return answer.text


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the summary."""

    pattern: str
    caller: str
    called: str
    make: Callable[[Mesh], str]


def result(task: str, **inputs: object) -> str:
    """Run a deployed task and return what it returned."""
    run = flyte.run(remote.Task.get(task, auto_version="latest"), **inputs)
    run.wait()
    outputs = run.outputs()
    return json.dumps(outputs[0] if len(outputs) == 1 else list(outputs))


def started(answer: str) -> str:
    """A webhook's answer: its run's status then, and how it ended."""
    told = json.loads(answer)
    run = remote.Run.get(told["run_id"])
    run.wait()
    before = "" if told["status"] == run.phase else f"{told['status']}, then "
    return f"{before}{run.phase}"


def bake(mesh: Mesh) -> str:
    """Follow a run over a WebSocket; the statuses that it passed, and its result."""

    async def listen() -> list[dict[str, str]]:
        address = mesh.endpoint("baker").replace("http://", "ws://")
        async with websockets.connect(f"{address}/bake?seconds=0.3") as socket:
            return [json.loads(message) async for message in socket]

    told = asyncio.run(listen())
    return f"{len(told)} messages, then {told[-1]['result'].partition(',')[0]}"


def ends(task: str, **inputs: object) -> str:
    """Run a task that fails; its phase, its error and its attempts."""
    run = flyte.run(remote.Task.get(task, auto_version="latest"), **inputs)
    run.wait()
    details = run.details()
    attempts = f"{details.attempts} attempt{'s' if details.attempts != 1 else ''}"
    return f"{run.phase} after {attempts}"


def aborted(_: Mesh) -> str:
    """Start a long run, stop it while it runs."""
    run = flyte.run(remote.Task.get("trips.walk", auto_version="latest"), steps=10_000)
    run.wait(wait_for="running")
    run.abort("the demo goes on")
    run.wait()
    return f"{run.phase}"


def variants(mesh: Mesh) -> str:
    """Send visitors until both variants were met."""
    met: dict[str, str] = {}
    for visitor in ("ada", "grace", "edsger", "barbara", "alan", "radia"):
        met.setdefault(json.loads(mesh.ask("banner", f"/?visitor={visitor}"))["variant"], visitor)
    return ", ".join(f"{visitor} met {variant}" for variant, visitor in sorted(met.items()))


def teapots(mesh: Mesh) -> str:
    """Ask one app for what it learns from two."""
    told = json.loads(mesh.ask("shop-window", "/items/teapot"))
    return f"{told['left']} teapots at {told['price']:.2f}"


def ticket(mesh: Mesh) -> str:
    """Ask the first of three apps."""
    told = json.loads(mesh.ask("ticket-office", "/tickets?start=Basel&end=Bern"))
    return f"{told['from']} to {told['to']}: {told['price']:.2f}"


def rates(mesh: Mesh) -> str:
    """Hand a task the address of the app that it is to ask."""
    url = mesh.endpoint("exchange-rates")
    return result("invoices.in_euros", rates_url=url, currency="JPY", amount=1000.0)


CALLS = [
    Call(
        "task calls app",
        "task invoice_total",
        "app exchange-rates",
        lambda _: result("invoices.invoice_total", amounts={"USD": 20.0, "CHF": 5.0}),
    ),
    Call(
        "  by gRPC",
        "greet_everybody",
        "app greeter",
        lambda _: result("greetings.greet_everybody", names=["Ada", "Eve"]),
    ),
    Call("  address as argument", "task in_euros", "app exchange-rates", rates),
    Call(
        "app calls app",
        "app front-desk",
        "app phrase-book",
        lambda mesh: json.loads(mesh.ask("front-desk", "/welcome/Ada?language=fr"))["message"],
    ),
    Call(
        "  endpoint inputs",
        "app shop-window",
        "apps stock, prices",
        teapots,
    ),
    Call("  A/B", "app banner", "app banner-a or -b", variants),
    Call(
        "  by gRPC",
        "app reception",
        "app greeter",
        lambda mesh: json.loads(mesh.ask("reception", "/arrival?name=Ada&language=fr"))["said"],
    ),
    Call(
        "  chain of three",
        "app ticket-office",
        "fares, distances",
        ticket,
    ),
    Call(
        "app calls task",
        "app report-webhook",
        "task most_used_words",
        lambda mesh: started(mesh.ask("report-webhook", "/start", TEXT)),
    ),
    Call(
        "  plain fetch",
        "app report-webhook",
        "task most_used_words",
        lambda mesh: started(mesh.ask("report-webhook", "/start-lazily", TEXT)),
    ),
    Call(
        "  Task.get",
        "app report-webhook",
        "task most_used_words",
        lambda mesh: started(mesh.ask("report-webhook", "/start-latest", TEXT)),
    ),
    Call(
        "  wait for outputs",
        "app report-webhook",
        "task most_used_words",
        lambda mesh: str(json.loads(mesh.ask("report-webhook", "/wait", TEXT))["words"]),
    ),
    Call(
        "  init in lifespan",
        "app report-desk",
        "task most_used_words",
        lambda mesh: started(mesh.ask("report-desk", "/start", TEXT)),
    ),
    Call("  over a WebSocket", "app baker", "task bake", bake),
    Call(
        "browser calls app",
        "browser",
        "app dashboard",
        lambda mesh: f"{len(mesh.browse('dashboard'))} bytes of Streamlit",
    ),
    Call(
        "  plain program",
        "browser",
        "app world-clock",
        lambda mesh: f"{len(mesh.browse('world-clock'))} bytes of HTML",
    ),
    Call(
        "  server and hooks",
        "you",
        "app guest-book",
        lambda mesh: f"guests: {mesh.ask('guest-book', '/sign?name=You', {})}",
    ),
    Call(
        "task calls tasks",
        "task longest_words",
        "3 by map, 1 child",
        lambda _: result("letters.longest_words", pages=PAGES),
    ),
    Call(
        "  in a group",
        "task first_and_last",
        "2 at once",
        lambda _: result("letters.first_and_last", pages=PAGES),
    ),
    Call(
        "retries with backoff",
        "you",
        "call_until_answered",
        lambda _: result("patience.call_until_answered", rings=3),
    ),
    Call(
        "  given up at once",
        "you",
        "read_missing_page",
        lambda _: ends("patience.read_missing_page", page=404),
    ),
    Call(
        "  stopped, too slow",
        "you",
        "oversleep",
        lambda _: ends("patience.oversleep", seconds=60.0),
    ),
    Call("  aborted", "you", "walk", aborted),
]
