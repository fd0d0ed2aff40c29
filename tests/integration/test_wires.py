"""The network of the tests of several nodes does what it says."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import namespaces
import pytest
from lossy_wire import Direction
from mesh import eventually
from wires import Network


@pytest.fixture
def network() -> Iterator[Network]:
    namespaces.require()
    made = Network()
    try:
        made.add("left")
        made.add("right")
        yield made
    finally:
        assert not made.close()


def _listener(network: Network, host: str) -> socket.socket:
    with network.hosts[host].inside():
        return socket.create_server((network.wires[host].address, 0))


def _connect(network: Network, host: str, to: socket.socket, timeout: float) -> socket.socket:
    with network.hosts[host].inside():
        return socket.create_connection(to.getsockname(), timeout=timeout)


def _sent(network: Network, size: int) -> tuple[float, bool]:
    """Send random bytes from left to right: seconds that it took, whether they arrived whole."""
    content = random.Random(7).randbytes(size)
    with _listener(network, "right") as listener:
        began = time.monotonic()
        received = hashlib.sha256()

        def receive() -> None:
            taken, _ = listener.accept()
            with taken:
                while part := taken.recv(1 << 16):
                    received.update(part)

        reader = threading.Thread(target=receive)
        reader.start()
        with _connect(network, "left", listener, 60) as sender:
            sender.sendall(content)
        reader.join()
    return time.monotonic() - began, received.digest() == hashlib.sha256(content).digest()


def _round_trip(network: Network, times: int) -> float:
    """The shortest of several round trips of one byte, seconds."""
    with (
        _listener(network, "right") as listener,
        _connect(network, "left", listener, 30) as one,
        listener.accept()[0] as other,
    ):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = []
        for _ in range(times):
            began = time.monotonic()
            one.sendall(b"x")
            other.sendall(other.recv(1))
            one.recv(1)
            trips.append(time.monotonic() - began)
    return min(trips)


def test_a_good_wire_carries_all_of_it(network: Network) -> None:
    took, whole = _sent(network, 20_000_000)
    assert whole
    assert took < 20
    assert _round_trip(network, 20) < 0.02


def test_a_lossy_wire_loses_and_delays_and_changes_nothing(network: Network) -> None:
    network.wires["left"].lossy(loss=0.05, delay=0.05)
    _, whole = _sent(network, 200_000)
    carried = network.wires["left"].carried()
    assert whole
    assert carried["overflowed"] == 0
    assert carried["passed"] > 100
    assert 0.01 < carried["lost"] / (carried["passed"] + carried["lost"]) < 0.12
    assert 0.1 <= _round_trip(network, 5) < 1
    network.wires["left"].heal()
    assert _round_trip(network, 20) < 0.02
    assert _sent(network, 5_000_000)[1]


def test_the_seed_decides_what_is_lost() -> None:
    def passed(seed: int) -> list[int]:
        one, source = socket.socketpair(type=socket.SOCK_DGRAM)
        target, other = socket.socketpair(type=socket.SOCK_DGRAM)
        with one, source, target, other:
            source.setblocking(False)
            direction = Direction(source, target, 0.3, 0, random.Random(seed))
            for number in range(100):
                one.send(bytes([number]))
                direction.take()
                direction.give()
            return [other.recv(1)[0] for _ in range(direction.passed)]

    first = passed(1)
    assert 50 < len(first) < 90
    assert first == passed(1)
    assert first != passed(2)


def test_a_cut_wire_is_silent_until_it_is_healed(network: Network) -> None:
    with (
        _listener(network, "right") as listener,
        _connect(network, "left", listener, 5) as open_one,
        listener.accept()[0] as other,
    ):
        network.wires["left"].cut()
        with pytest.raises(OSError):
            _connect(network, "left", listener, 0.5)
        other.settimeout(0.5)
        open_one.sendall(b"late")
        with pytest.raises(TimeoutError):
            other.recv(4)
        network.wires["left"].heal()
        other.settimeout(30)
        assert other.recv(4) == b"late"


def test_hosts_are_apart_from_this_machine(network: Network) -> None:
    with _listener(network, "right") as listener, pytest.raises(OSError):
        socket.create_connection(listener.getsockname(), timeout=0.5)
    with network.hosts["left"].inside():
        shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    names = {line.split(": ")[1].partition("@")[0] for line in shown.stdout.splitlines()}
    assert names == {"lo", "eth0"}


LEAVER = """
import subprocess, sys, time
sys.path.insert(0, {folder!r})
from wires import Network
network = Network()
network.add("left")
network.wires["left"].lossy(0.1, 0.1)
with network.hosts["left"].inside():
    subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True)
print(network.hosts["left"].inode, flush=True)
time.sleep(600)
"""


def test_what_a_killed_test_has_left_is_removed_by_the_next() -> None:
    namespaces.require()
    folder = str(Path(__file__).parent)
    leaver = subprocess.Popen(
        [sys.executable, "-c", LEAVER.format(folder=folder)], stdout=subprocess.PIPE, text=True
    )
    assert leaver.stdout
    inode = int(leaver.stdout.readline())
    os.kill(leaver.pid, signal.SIGKILL)
    leaver.communicate()
    eventually(5, "its process still lives", lambda: len(namespaces.processes_of(inode)) == 1)
    assert list(namespaces.NAMED.glob(f"{namespaces.PREFIX}-{leaver.pid}-*"))
    namespaces.remove_stale()
    assert not namespaces.processes_of(inode)
    assert not list(namespaces.NAMED.glob(f"{namespaces.PREFIX}-{leaver.pid}-*"))
