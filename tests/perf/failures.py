"""How soon the mesh notices each kind of failure, and is whole again.

A server and three nodes in network namespaces; what died is started again after
half a second, as systemd does. Each figure is the slowest of several, its note
says the median.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import namespaces
from cluster import Cluster
from figures import Figure, median
from host import Host
from killer import Keeper
from mesh import ROOT, eventually

from callmeshpb.v1 import scheduler_pb2, scheduler_pb2_grpc

LEASE = 5.0
REPLICAS = 6
TIMES = 5
GIVE_UP = 60.0
PROJECT = ROOT / "tests" / "integration" / "projects" / "target.py"


def detected(home: Path) -> list[Figure]:
    """Every figure; none, with a line that says why, where there can be no namespaces."""
    if why := namespaces.problem():
        print(f"not measured, failures of nodes: {why}", file=sys.stderr)
        return []
    cluster = Cluster(home)
    keeper = Keeper(cluster, ("--lease", str(LEASE)))
    with cluster.running(lease=LEASE):
        cluster.cli("deploy", str(PROJECT))
        with keeper.at_work():
            return Trial(cluster).figures()


class Trial:
    """One cluster on which one thing after the other fails."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.nodes = list(cluster.nodes.values())
        self.port = int(cluster.json("get", "app", "target")["endpoint"].rpartition(":")[2])

    def figures(self) -> list[Figure]:
        """Measure each kind."""
        alone = range(TIMES)
        return [
            figure("crashed instance out of every node's Envoy", 0.2,
                   [self.crash(self.nodes[n % 3], n) for n in alone]),
            figure("killed Envoy: its node's calls are answered again", 2.0,
                   [self.envoy(self.nodes[n % 3]) for n in alone]),
            figure("killed supervisor: the next one answers", 2.0,
                   [self.supervisor(self.nodes[n % 3]) for n in alone]),
            figure("killed agent: its node is connected again", 5.0,
                   [self.agent(self.nodes[n % 3]) for n in alone]),
            figure("killed server: every node is connected again", 6.0,
                   [self.server() for _ in range(3)]),
            *self.cuts(),
        ]  # fmt: skip

    def crash(self, host: Host, number: int) -> float:
        """One instance is killed."""
        self.whole()
        apps = host.of_kind("app")
        assert apps, host.name
        began = time.monotonic()
        apps[number % len(apps)].kill()
        return since(began, lambda: all(len(called(each)) < REPLICAS for each in self.nodes))

    def envoy(self, host: Host) -> float:
        """A node's Envoy is killed."""
        self.whole()
        began = time.monotonic()
        host.kill("envoy")
        with host.namespace.inside():
            return since(began, lambda: answers(self.port))

    def supervisor(self, host: Host) -> float:
        """A node's supervisor is killed."""
        self.whole()
        path = runtime(host) / "supervisor.sock"
        began = time.monotonic()
        old = host.kill("supervisor").pid
        return since(began, lambda: listener(path) not in {0, old})

    def agent(self, host: Host) -> float:
        """A node's agent is killed."""
        self.whole()
        began = time.monotonic()
        host.kill("agent")
        since(began, lambda: host.name not in self.connected())
        return since(began, lambda: host.name in self.connected())

    def server(self) -> float:
        """The server is killed."""
        self.whole()
        began = time.monotonic()
        self.cluster.server.kill("server")
        since(began, lambda: not self.connected())
        return since(began, lambda: len(self.connected()) == len(self.nodes))

    def cuts(self) -> list[Figure]:
        """Nodes are cut off until they are given up, and healed."""
        gone, back = [], []
        for host in self.nodes:
            self.spread()
            others = [each for each in self.nodes if each is not host]
            began = time.monotonic()
            host.wire.cut()
            gone.append(
                since(began, lambda h=host, o=others: not any(h.address in called(n) for n in o))
            )
            began = time.monotonic()
            host.wire.heal()
            back.append(since(began, lambda h=host: h.name in self.connected()))
        lease = f"its lease is {LEASE:g} s"
        return [
            figure("cut-off node out of the others' Envoys", LEASE + 1, gone, lease),
            figure("healed node connected again", 3.0, back),
        ]

    def whole(self) -> None:
        """Wait until everything is back, and a moment longer."""
        eventually(
            GIVE_UP,
            f"all is well\n{self.cluster.log()}",
            lambda: (
                len(self.connected()) == len(self.nodes)
                and all(len(called(each)) == REPLICAS for each in self.nodes)
            ),
        )
        time.sleep(0.5)

    def spread(self) -> None:
        """Have instances on every node again: one that comes back gets none by itself."""
        revision = self.cluster.home / "target.py"
        revision.write_text(f"{PROJECT.read_text()}\n# {time.time()}\n")
        self.cluster.cli("deploy", str(revision))
        self.whole()

    def connected(self) -> set[str]:
        """Names of the nodes that have a session; none while the server is away."""
        target = f"unix:{runtime(self.cluster.server) / 'api.sock'}"
        with grpc.insecure_channel(target) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            try:
                found = stub.ListNodes(scheduler_pb2.ListNodesRequest(), timeout=1)
            except grpc.RpcError:
                return set()
        return {node.name for node in found.nodes if node.connected}


def figure(what: str, bound: float, seconds: list[float], more: str = "") -> Figure:
    """The slowest of several."""
    note = f"slowest of {len(seconds)}, median {median(seconds):.2g} s"
    return Figure(what, max(seconds), "s", bound, note=f"{note}; {more}" if more else note)


def since(began: float, is_so: Callable[[], bool]) -> float:
    """Seconds from a moment until something is so."""
    while not is_so():
        assert time.monotonic() - began < GIVE_UP
        time.sleep(0.002)
    return time.monotonic() - began


def runtime(host: Host) -> Path:
    """The folder of a host's sockets."""
    (found,) = (host.runtime / "callmesh").iterdir()
    return found


def called(host: Host) -> list[str]:
    """Addresses of the instances that a node's Envoy calls; none while it is away."""
    with socket.socket(socket.AF_UNIX) as admin:
        try:
            admin.settimeout(2)
            admin.connect(str(runtime(host) / "envoy-admin.sock"))
            connection = http.client.HTTPConnection("admin")
            connection.sock = admin
            connection.request("GET", "/clusters?format=json")
            told = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return []
    return [
        each["address"]["socket_address"]["address"]
        for cluster in told["cluster_statuses"]
        if cluster["name"] == "target"
        for each in cluster.get("host_statuses", ())
    ]


def answers(port: int) -> bool:
    """Whether a call through this host's Envoy is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listener(path: Path) -> int:
    """The process that answers on a Unix socket, 0 for none."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return 0
        told = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", told)[0])
