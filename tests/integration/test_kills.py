"""Two minutes of kills over a server and three nodes, under a steady load.

Each node calls an app of six replicas (GETs that are quick, slow, on kept and on
new connections; POSTs; a WebSocket), a client on the server's host runs tasks.
Meanwhile processes are killed, paused for ten seconds, a node is cut off, a wire
made bad, a disk filled (`killer.py`). What may be lost, and nothing else:

- calls that leave a node while its own Envoy is away, and those that were in it
  when it was killed;
- POSTs and WebSockets that were in flight on an instance, in an Envoy or to a
  node that was killed or cut off meanwhile. A POST is never executed twice, and
  a WebSocket can be opened again at once;
- calls of a node that is cut off and has no ready instance of its own: no call
  that it made after the cut was answered before it was healed;
- submissions of runs while the server's disk is full: they are not acknowledged.

So no GET is lost that has a ready instance, every run that was acknowledged
succeeds with its one result, and at the end all is as it was: six instances, no
process, port, lock or file left over.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import namespaces
import psutil
import pytest
from caller import Call
from cluster import Cluster
from host import Host
from killer import LASTS, Blow, Keeper, Killer, disk_of
from mesh import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HERE = Path(__file__).parent
SECONDS = 120
LEASE = 5.0
REPLICAS = 6
NODES = ("n1", "n2", "n3")
# A killed Envoy is back by then, on a busy machine. What was in flight as it came
# back may be a little later.
ENVOY_BACK = 8.0
A_LITTLE = 0.5
# From a cut to the moment at which what was sent into it is given up.
NOTICED = 8.0
DISK = "size=96m,mode=0700"


@contextmanager
def small_disks(home: Path) -> Iterator[None]:
    """State folders of the server and of a node on disks that can be filled."""
    with ExitStack() as stack:
        node = Path("elsewhere", "callmesh", "node")
        for folder in (home / "server" / "state", *(home / name / node for name in NODES)):
            folder.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "cmtest", folder], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        yield


class Loads:
    """The callers of every node and the runner, each with its book."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self._cluster = cluster
        self._home = home
        self._processes: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def running(self, endpoint: str) -> Iterator[None]:
        """For the block; begins once every kind of call was answered."""
        try:
            for host in self._cluster.nodes.values():
                self._start(host, "caller.py", host.name, endpoint)
            self._start(self._cluster.server, "runner.py")
            wanted = {"get", "post", "echo", "run"}
            eventually(60, "every kind", lambda: {call.kind for call in self.calls()} >= wanted)
            yield
        finally:
            for process in self._processes:
                process.kill()
                process.wait()

    def calls(self) -> list[Call]:
        """What was written down so far."""
        return [
            Call(**json.loads(line))
            for book in self._home.glob("*.book")
            for line in book.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def _start(self, host: Host, script: str, *arguments: str) -> None:
        line = [sys.executable, HERE / script, *arguments, self._home / f"{host.name}.book"]
        with host.namespace.inside():
            self._processes.append(subprocess.Popen(line, env=host.environment))


def test_two_minutes_of_kills(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    namespaces.require()
    seed = pytestconfig.getoption("--kill-seed")
    seed = int(time.time()) if seed is None else int(seed)
    with small_disks(tmp_path):
        cluster = Cluster(tmp_path)
        loads = Loads(cluster, tmp_path)
        killer = Killer(cluster, seed)
        try:
            with cluster.running(lease=LEASE):
                told = play(cluster, loads, killer, tmp_path)
        except BaseException:
            shown = Path(f"/tmp/callmesh-kills-{seed}")
            shutil.copytree(
                tmp_path,
                shown,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("*.sock", "state"),
            )
            print(f"seed {seed} (--kill-seed {seed}), books and logs in {shown}\n{killer.log()}")
            raise
        print(told)


def play(cluster: Cluster, loads: Loads, killer: Killer, home: Path) -> str:
    """Deploy, load, kill, look; what came of it in a few lines."""
    taken = home / "taken"
    cluster.server.variables["TAKEN"] = str(taken)
    cluster.cli("deploy", str(HERE / "projects" / "target.py"))
    endpoint = cluster.json("get", "app", "target")["endpoint"]
    keeper = Keeper(cluster, ("--lease", str(LEASE)))
    with keeper.at_work(), loads.running(endpoint):
        killer.began = time.monotonic()
        killer.run(SECONDS)
        settle(cluster)
        calm = time.monotonic()
        time.sleep(5)
    calls = loads.calls()
    lost = [call for call in calls if call.why]
    end_envoys(calls, killer.blows)
    alone = [blow for blow in killer.blows if blow.what == "cut" and leaves_alone(blow, calls)]
    unexcused = [call for call in lost if not may_be_lost(call, killer.blows, alone)]
    assert not unexcused, "\n".join(shown(call, killer) for call in unexcused[:40])
    assert not [call for call in lost if call.began > calm], "calls were lost after the storm"
    twice = [key for key, count in Counter(taken.read_text().split()).items() if count > 1]
    assert not twice, f"executed more than once: {twice}"
    runs = check_runs(cluster, calls)
    clean_up(cluster)
    counts = Counter(call.kind for call in calls)
    return (
        f"seed {killer.seed}: {len(killer.blows)} blows, {dict(counts)}, {runs} runs; "
        f"lost and excused: {dict(Counter(call.kind for call in lost))}"
    )


def settle(cluster: Cluster) -> None:
    """Wait until everything is back."""
    cluster.wait_ready(*cluster.nodes)

    def whole() -> bool:
        app = cluster.json("get", "app", "target")
        ready = [each for each in app["instances"] if each["state"] == "ready"]
        return app["state"] == "ready" and len(ready) == REPLICAS

    eventually(90, f"six instances are ready\n{cluster.log()}", whole)


def end_envoys(calls: list[Call], blows: list[Blow]) -> None:
    """A killed Envoy is away until the first call of its node that was answered again."""
    for blow in blows:
        if blow.what == "kill envoy":
            blow.ended = min(
                call.ended
                for call in calls
                if call.node == blow.host and call.began > blow.began and not call.why
            )
            away = blow.ended - blow.began
            paused = any(
                each.what.startswith("pause") and each.overlaps(blow.began, blow.ended)
                for each in blows
            )
            limit = ENVOY_BACK + (LASTS if paused else 0)
            assert away < limit, f"Envoy of {blow.host} was away for {away:.1f} s"


def leaves_alone(cut: Blow, calls: list[Call]) -> bool:
    """Whether the node that was cut off had no instance that took new calls."""
    return not any(
        call.node == cut.host
        and call.kind in {"get", "post"}
        and not call.why
        and call.began > cut.began + A_LITTLE
        and call.ended < cut.ended
        for call in calls
    )


def may_be_lost(call: Call, blows: list[Blow], alone: list[Blow]) -> bool:
    """Whether a failed call is one of those that the rules above give up."""

    def met(blow: Blow, after: float = 0.0) -> bool:
        return blow.overlaps(call.began, call.ended, after)

    for blow in blows:
        if call.kind == "run":
            if blow.what == "full server" and met(blow, 2.0) and not call.instance:
                return True
            continue
        if blow.what == "kill envoy" and blow.host == call.node and met(blow, A_LITTLE):
            return True
        if blow in alone and blow.host == call.node and met(blow):
            return True
        if call.kind == "get":
            continue
        in_flight = call.began < blow.began + A_LITTLE and call.ended >= blow.began
        if blow.what in {"kill app", "kill envoy"} and in_flight:
            return True
        if blow.what in {"cut", "lossy"} and met(blow, NOTICED):
            return True
    # The node of a WebSocket may be given up, or its instance be one too many.
    return call.kind in {"websocket", "echo"}


def shown(call: Call, killer: Killer) -> str:
    """A lost call, and what was going on."""
    near = [
        f"{blow.what} on {blow.host} at {blow.began - killer.began:.2f}"
        for blow in killer.blows
        if blow.overlaps(call.began - 2, call.ended, 3)
    ]
    began = call.began - killer.began
    return (
        f"{call.kind} of {call.node} at {began:.2f}, {call.ended - call.began:.2f} s long: "
        f"{call.why} {call.instance} [{'; '.join(near)}]"
    )


def check_runs(cluster: Cluster, calls: list[Call]) -> int:
    """Every acknowledged run has ended well, once; how many there were."""
    named = [call for call in calls if call.kind == "run" and call.instance]
    eventually(
        60,
        "every run has ended",
        lambda: not [
            each for each in cluster.json("get", "runs", "--limit", "100000")
            if each["phase"] in {"queued", "running", "waiting_for_resources", "initializing"}
        ],
    )  # fmt: skip
    phases = {
        each["name"]: each["phase"] for each in cluster.json("get", "runs", "--limit", "100000")
    }
    wrong = {call.instance: phases.get(call.instance) for call in named}
    assert all(phase == "succeeded" for phase in wrong.values()), wrong
    assert set(phases.values()) == {"succeeded"}
    assert len(wrong) == len(named)
    return len(phases)


def clean_up(cluster: Cluster) -> None:
    """After the app is deleted nothing of it is left on any node."""
    cluster.cli("delete", "app", "target")
    for host in cluster.nodes.values():
        eventually(60, f"no instance on {host.name}", lambda h=host: not h.of_kind("app"))
        eventually(20, f"its ports are free: {ports(host)}", lambda h=host: ports(h) <= {7480})
        assert not list((disk_of(host) / "agent" / "spool").glob("*")), host.name


def ports(host: Host) -> set[int]:
    """TCP ports on which somebody on a host listens."""
    with host.namespace.inside():
        return {
            each.laddr.port
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }
