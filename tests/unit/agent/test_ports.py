"""Whose a port is, against real sockets and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from callmesh_agent import ports
from callmesh_agent.ports import Listener

SERVE = (
    "import socket, sys, time; s = socket.create_server((sys.argv[1], 0)); "
    "print(s.getsockname()[1], flush=True); time.sleep(60)"
)


@pytest.fixture
def listening():
    """Start a process that listens; its port and pid."""
    started = []

    def start(address="127.0.0.1"):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, address], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline()), process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def listener_on(port):
    (found,) = [each for each in ports.listeners() if each.port == port]
    return found


def test_a_listener_is_found_with_its_owner(listening):
    port, pid = listening()
    found = listener_on(port)
    assert (found.address, found.is_exposed) == ("127.0.0.1", False)
    assert ports.own_listeners(pid, [found]) == [found]


def test_a_child_owns_what_its_parent_is_asked_for(listening):
    port, pid = listening()
    assert pid in ports.process_tree(os.getpid())
    assert ports.own_listeners(os.getpid(), [listener_on(port)])


def test_a_strangers_listener_is_not_ones_own(listening):
    port, _ = listening()
    _, other = listening()
    assert ports.own_listeners(other, [listener_on(port)]) == []


def test_a_holder_is_named_with_its_command(listening):
    port, pid = listening()
    holder = ports.holder(port)
    assert holder is not None
    assert holder.pid == pid
    assert str(holder).startswith(f"process {pid} (`{sys.executable} -c import socket")
    assert len(holder.command) <= 80


def test_a_free_port_has_no_holder():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert ports.holder(probe.getsockname()[1]) is None


def test_every_address_beyond_loopback_is_exposed(listening):
    port, _ = listening("0.0.0.0")
    assert listener_on(port).is_exposed
    assert listener_on(port).dial == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "dial", "exposed"),
    [
        ("::", "127.0.0.1", True),
        ("::1", "::1", False),
        ("127.0.0.5", "127.0.0.5", False),
        ("10.1.2.3", "10.1.2.3", True),
    ],
)
def test_where_a_listener_is_called(address, dial, exposed):
    listener = Listener(address, 80, 1)
    assert (listener.dial, listener.is_exposed) == (dial, exposed)


def test_connections_are_counted_at_the_servers_end():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports.connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert ports.connections(port) == 1


def test_the_table_is_read_once_for_who_asks_at_the_same_time():
    now = [0.0]
    table = ports.ListenerTable(lambda: now[0])
    first = table.recent(1.0)
    assert table.recent(1.0) is first
    now[0] = 1.5
    assert table.recent(1.0) is not first
