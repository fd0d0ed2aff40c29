"""`make bench-scale`: a real server and a thousand simulated agents.

    python tests/perf/scale.py [NODES …] [--full-views]

For each number of nodes (1,000 without one): half as many apps, ten instances a
node, real sessions over TLS (`fleet.py`), the server as a process of its own.
`--full-views` has agents that take no deltas, for comparison.
"""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from mesh import CALLMESH, Mesh
from placing import placing

from callmesh_wire.channel import CLIENT_OPTIONS
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

HERE = Path(__file__).parent
LEASE = 15.0
PER_NODE = 10
REPLICAS = 20
REST = 30.0
CHANGES = 10
PATIENCE = 300.0


def main() -> int:
    takes_deltas = "--full-views" not in sys.argv
    sizes = [int(each) for each in sys.argv[1:] if each.isdigit()] or [1000]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            rows.append(measure(size, Path(folder), takes_deltas=takes_deltas))
        print(json.dumps(rows[-1], indent=1), flush=True)
    print(table(rows))
    print()
    print(placing())
    return 0


def measure(nodes: int, home: Path, *, takes_deltas: bool) -> dict[str, Any]:
    """Every figure of a mesh of this size."""
    found: dict[str, Any] = {"nodes": nodes, "apps": nodes // 2, "instances": nodes * PER_NODE}
    with server(home) as control, fleet(control, nodes, takes_deltas=takes_deltas) as agents:
        began = time.monotonic()
        agents.until("everybody joined", lambda s: s["connected"] == nodes)
        found["first join, s"] = time.monotonic() - began
        spent = control.cpu()
        began = time.monotonic()
        control.deploy(nodes // 2)
        agents.until("all instances placed", lambda s: s["instances"] == nodes * PER_NODE)
        found["placed, s"] = time.monotonic() - began
        agents.settle(control)
        found["deploy to the last view, s"] = agents.state()["latest"] - began
        found["deploy, CPU s"] = control.cpu() - spent
        print(json.dumps(found, indent=1), flush=True)
        found |= one_change(control, agents)
        found |= at_rest(control, nodes)
        found |= storm(control, agents)
        found |= the_view(control, agents)
        assert found["endpoints"] == found["instances"], "the view is not whole"
        found["server RSS, MB"] = control.process.memory_info().rss / 1e6
        found["problems"] = agents.state()["problems"]
    return found


def one_change(control: Control, agents: Fleet) -> dict[str, Any]:
    """From an instance's report to the first and the last agent that has the new view."""
    instances = agents.ask(do="instances")["ids"]
    nodes = agents.count
    middle, last, sent, spent = [], [], [], []
    for number in range(CHANGES):
        agents.settle(control)
        received, cpu = agents.state()["received"], control.cpu()
        agents.ask(do="mark")
        # An instance that fails, then the same that is back.
        flipped = instances[len(instances) // 2 + number // 2]
        began = agents.ask(do="flip", instance=flipped, ready=bool(number % 2))["at"]
        agents.seen(nodes)
        times = [each - began for each in agents.ask(do="seen")["times"]]
        middle.append(statistics.median(times))
        last.append(times[-1])
        agents.settle(control)
        sent.append(agents.state()["received"] - received)
        spent.append(control.cpu() - cpu)
    return {
        "one change, median node, ms": statistics.median(middle) * 1e3,
        "one change, last node, ms": statistics.median(last) * 1e3,
        "one change, last node, worst, ms": max(last) * 1e3,
        "one change, kB sent": statistics.median(sent) / 1e3,
        "one change, CPU ms": statistics.median(spent) * 1e3,
    }


def at_rest(control: Control, nodes: int) -> dict[str, Any]:
    """What connected nodes cost where nothing happens."""
    time.sleep(2)
    before = control.cpu()
    time.sleep(REST)
    share = (control.cpu() - before) / REST
    return {"at rest, % of a core": share * 100, "at rest, µs/s a node": share * 1e6 / nodes}


def storm(control: Control, agents: Fleet) -> dict[str, Any]:
    """The server is killed and started again: everybody comes at once."""
    received = agents.state()["received"]
    agents.ask(do="mark")
    control.kill()
    began = time.monotonic()
    control.start()
    up = time.monotonic()
    agents.seen(agents.count)
    agents.settle(control)
    return {
        "server start, s": up - began,
        "join storm, until the last view, s": agents.state()["latest"] - up,
        "join storm, CPU s": control.cpu(),
        "join storm, MB sent": (agents.state()["received"] - received) / 1e6,
    }


def the_view(control: Control, agents: Fleet) -> dict[str, Any]:
    """What the witnesses hold; all of them the same, and what a newcomer is told."""
    agents.settle(control)
    held = agents.ask(do="held")["views"]
    with fleet(control, 1, takes_deltas=False, first=agents.count) as newcomer:
        newcomer.until("the newcomer joined", lambda s: s["newest"] > 0)
        told = newcomer.ask(do="held")["views"][0]
    digests = {each["digest"] for each in [*held, told]}
    assert len(digests) == 1, f"witnesses differ: {[*held, told]}"
    return {"view, kB": told["bytes"] / 1e3, "endpoints": told["endpoints"]}


class Control:
    """The server process."""

    def __init__(self, home: Path) -> None:
        self.mesh = Mesh(state=home / "callmesh" / "default")
        self.process: psutil.Process
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._node_port = free.getsockname()[1]

    def start(self) -> None:
        """Start it, and return once it answers."""
        log = (self.mesh.state.parent.parent / "server.log").open("a")
        command = [CALLMESH, "server", "--state-dir", str(self.mesh.state), "--node-port",
                   str(self._node_port), "--port", "0", "--lease", str(LEASE)]  # fmt: skip
        self.process = psutil.Popen(
            command, env=self.mesh.environment, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, log.name
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._node_port}"

    @property
    def token(self) -> str:
        return str(self.mesh.state / "join.token")

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """As a crash."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)

    def deploy(self, apps: int) -> None:
        """Deploy so many apps, in requests of 50."""
        with self._channel() as channel:
            call = channel.unary_unary(
                "/callmeshpb.v1.SchedulerService/Deploy",
                request_serializer=pb.DeployRequest.SerializeToString,
                response_deserializer=pb.DeployResponse.FromString,
            )
            for first in range(0, apps, 50):
                specs = [
                    pb.AppSpec(
                        name=f"app-{number:04d}",
                        kind=pb.APP_KIND_COMMAND,
                        args=["serve"],
                        min_replicas=REPLICAS,
                        resources=common_pb2.Resources(memory=2**28, cpu=0.1),
                    )
                    for number in range(first, min(apps, first + 50))
                ]
                call(pb.DeployRequest(version="v1", apps=specs), timeout=60)

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{self._socket()}", options=CLIENT_OPTIONS)

    def _socket(self) -> Path:
        return Path(self.mesh.record["runtime_dir"]) / "api.sock"

    def _answers(self) -> bool:
        try:
            if self.mesh.record["pid"] != self.process.pid:
                return False
            with self._channel() as channel:
                channel.unary_unary(
                    "/callmeshpb.v1.SchedulerService/GetServer",
                    request_serializer=pb.GetServerRequest.SerializeToString,
                    response_deserializer=pb.GetServerResponse.FromString,
                )(pb.GetServerRequest(), timeout=30)
        except (OSError, ValueError, grpc.RpcError):
            return False
        return True


@contextmanager
def server(home: Path) -> Iterator[Control]:
    """A server of its own state, ended afterwards."""
    control = Control(home)
    control.start()
    try:
        yield control
    finally:
        control.stop()


class Fleet:
    """The agents' process."""

    def __init__(self, process: subprocess.Popen[str], count: int) -> None:
        self._process = process
        self.count = count

    def ask(self, **words: Any) -> dict[str, Any]:
        """One command, one answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the agents' process ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def state(self) -> dict[str, Any]:
        return self.ask(do="state")

    def until(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for something to hold of the agents' state."""
        deadline = time.monotonic() + PATIENCE
        while not holds(state := self.state()):
            assert time.monotonic() < deadline, f"not in {PATIENCE:g} s: {what}: {state}"
            time.sleep(0.1)

    def seen(self, count: int) -> None:
        """Wait until so many agents have a view that is newer than the mark."""
        deadline = time.monotonic() + PATIENCE
        while len(self.ask(do="seen")["times"]) < count:
            assert time.monotonic() < deadline, f"no view within {PATIENCE:g} s: {self.state()}"
            time.sleep(0.05)

    def settle(self, control: Control) -> None:
        """Wait until all agents have one view and the server is idle."""
        deadline = time.monotonic() + PATIENCE
        quiet = 0
        before: Any = None
        cpu = control.cpu()
        while quiet < 3:
            assert time.monotonic() < deadline, f"it never settles: {self.state()}"
            time.sleep(0.2)
            state = self.state()
            same = state == before and state["oldest"] == state["newest"]
            spent, cpu = control.cpu() - cpu, control.cpu()
            quiet = quiet + 1 if same and spent < 0.1 else 0
            before = state


@contextmanager
def fleet(control: Control, count: int, *, takes_deltas: bool, first: int = 0) -> Iterator[Fleet]:
    """So many agents, from this number on."""
    options = {
        "target": control.target,
        "token": control.token,
        "lease": LEASE,
        "first": first,
        "count": count,
        "takes_deltas": takes_deltas,
        "witness_every": 100 if count > 1 else 1,
    }
    process = subprocess.Popen(
        [sys.executable, str(HERE / "fleet.py"), json.dumps(options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Fleet(process, count)
    finally:
        process.kill()
        process.wait()


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, one figure a row and one size a column."""
    lines = [
        "| | " + " | ".join(f"{row['nodes']:,} nodes" for row in rows) + " |",
        "|---|" + "---|" * len(rows),
    ]
    for name in rows[0]:
        if name in ("nodes", "problems"):
            continue
        values = " | ".join(f"{row[name]:,}" if isinstance(row[name], int) else f"{row[name]:,.3g}"
                            for row in rows)  # fmt: skip
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
