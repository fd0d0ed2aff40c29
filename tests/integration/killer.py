"""A seeded killer of a cluster, and who plays systemd for it.

Every `TURN` seconds something dies (`KILLED`); beside that one trouble after
the other lasts ten seconds each (`TROUBLES`). Everything is written down.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cluster import Cluster
from host import Host

KILLED = ("app", "worker", "zygote", "supervisor", "agent", "envoy", "server")
PAUSED = ("app", "envoy", "agent", "supervisor", "server")
TROUBLES = (*(f"pause {kind}" for kind in PAUSED), "cut", "lossy", "full node", "full server")
LASTS = 10.0
REST = 2.0
TURN = 2.0
RESTART = 0.5


@dataclass
class Blow:
    """What was done to what, and for how long."""

    what: str
    host: str
    began: float
    ended: float = 0.0

    def overlaps(self, began: float, ended: float, after: float = 0.0) -> bool:
        """Whether it, or the ``after`` seconds behind it, fall into a span of time."""
        return self.began <= ended and began <= (self.ended or time.monotonic()) + after


@dataclass
class Keeper:
    """Starts agents and the server again when they have ended, as systemd does."""

    cluster: Cluster
    server_options: tuple[str, ...]
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For the block."""
        thread = threading.Thread(target=self._keep)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _keep(self) -> None:
        running: dict[str, psutil.Process] = {}
        away: dict[str, float] = {}
        while not self._stop.wait(0.02):
            for host in self.cluster.hosts:
                known = running.get(host.name)
                if known is not None and _lives(known):
                    continue
                found = host.of_kind("server" if host is self.cluster.server else "agent")
                if found:
                    running[host.name] = found[0]
                elif time.monotonic() - away.setdefault(host.name, time.monotonic()) > RESTART:
                    del away[host.name]
                    running[host.name] = psutil.Process(self._start(host.name).pid)

    def _start(self, name: str) -> subprocess.Popen[str]:
        server, cluster = self.cluster.server, self.cluster
        if name == server.name:
            line: list[str] = ["server", "--address", server.address, *self.server_options]
            return server.spawn(*line, log="server")
        return cluster.start_agent(name)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Killer:
    """Strikes by its dice until its time is up."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self.dice = random.Random(seed)
        self.began = time.monotonic()
        self.blows: list[Blow] = []
        # Where nothing is killed for now: its instances are all that it can call.
        self._spared = ""

    def run(self, seconds: float) -> None:
        """Strike for so long, and until every trouble has been once."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def killing() -> None:
            try:
                while not stop.wait(self.dice_of_kills.uniform(0.5, 1.5) * TURN):
                    self._kill(self.dice_of_kills.choice(KILLED))
            except BaseException as problem:
                failures.append(problem)
                raise

        self.dice_of_kills = random.Random(self.dice.random())
        killer = threading.Thread(target=killing)
        killer.start()
        try:
            deadline = self.began + seconds
            troubles = list(TROUBLES)
            self.dice.shuffle(troubles)
            for trouble in troubles:
                self._trouble(trouble)
                time.sleep(REST)
            while time.monotonic() < deadline:
                self._trouble(self.dice.choice(TROUBLES))
        finally:
            stop.set()
            killer.join()
        assert not failures, failures

    def log(self) -> str:
        """What was done when, a line each."""
        return "\n".join(
            f"{blow.began - self.began:7.2f} {blow.ended - blow.began:5.1f} s  "
            f"{blow.what} on {blow.host}"
            for blow in self.blows
        )

    def _kill(self, kind: str) -> None:
        hosts = [self.cluster.server] if kind == "server" else list(self.cluster.nodes.values())
        hosts = [host for host in hosts if host.name != self._spared]
        if not hosts:
            return
        host = self.dice_of_kills.choice(hosts)
        victim = self._one_of(host, kind, self.dice_of_kills)
        if victim is None:
            return
        now = time.monotonic()
        self.blows.append(Blow(f"kill {kind}", host.name, now, now))
        with suppress(psutil.NoSuchProcess):
            victim.kill()

    def _trouble(self, what: str) -> None:
        kind, _, of = what.partition(" ")
        nodes = list(self.cluster.nodes.values())
        host = self.cluster.server if of == "server" else self.dice.choice(nodes)
        match kind:
            case "pause":
                self._pause(host, of)
            case "cut":
                # What a node that is cut off can call is what it has itself.
                spread = {node.name: len(node.of_kind("app")) for node in nodes}
                host = self.dice.choice([node for node in nodes if spread[node.name]])
                self._spared = host.name
                self._during(what, host, host.wire.cut, host.wire.heal)
                self._spared = ""
            case "lossy":
                self._during(what, host, lambda: host.wire.lossy(0.05, 0.1), host.wire.heal)
            case "full":
                filler = disk_of(host) / "filler"
                self._during(what, host, lambda: fill(filler), filler.unlink)

    def _pause(self, host: Host, kind: str) -> None:
        victim = self._one_of(host, kind, self.dice)
        if victim is None:
            return

        def resume() -> None:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGCONT)

        with suppress(psutil.NoSuchProcess):
            self._during(f"pause {kind}", host, lambda: victim.send_signal(signal.SIGSTOP), resume)

    def _during(
        self, what: str, host: Host, begin: Callable[[], None], end: Callable[[], None]
    ) -> None:
        blow = Blow(what, host.name, time.monotonic())
        self.blows.append(blow)
        begin()
        try:
            time.sleep(LASTS)
        finally:
            end()
            blow.ended = time.monotonic()

    def _one_of(self, host: Host, kind: str, dice: random.Random) -> psutil.Process | None:
        found = host.of_kind(kind)
        return dice.choice(found) if found else None


def disk_of(host: Host) -> Path:
    """Where a server or an agent keeps its state."""
    return host.state if host.name == "server" else host.home / "elsewhere" / "callmesh" / "node"


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    with suppress(OSError), file.open("wb", buffering=0) as opened:
        for size in (1 << 20, 4096, 256):
            with suppress(OSError):
                while opened.write(os.urandom(size)):
                    pass
