"""The kernel's two ways of telling which sockets there are."""

from __future__ import annotations

import os
import socket

import pytest

from callmesh_agent import sockdiag
from callmesh_agent.sockdiag import ESTABLISHED, LISTEN, Socket, tcp_sockets

WAYS = (sockdiag._ask, sockdiag._read)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_listener_is_told_either_way(way, family, address):
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        # Others may listen on the same number elsewhere; a dump may tell one twice.
        (found,) = {each for each in way(family, LISTEN, port) if each.address == address}
    assert found.port == port
    assert found.inode


@pytest.mark.parametrize("way", WAYS)
def test_connections_are_told_by_their_local_port(way):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        for end in (client, accepted):
            assert told(way, end).port == end.getsockname()[1]


def told(way, end):
    """What is said of a connection's end, among others' on the same port number."""
    inode = os.fstat(end.fileno()).st_ino
    for _ in range(20):
        found = {
            each
            for each in way(socket.AF_INET, ESTABLISHED, end.getsockname()[1])
            if each.inode == inode
        }
        # A table that changes while it is read may lack one.
        if found:
            break
    (one,) = found
    assert isinstance(one, Socket)
    return one


def test_where_the_kernel_does_not_answer_the_table_is_read(monkeypatch):
    def refused(*_):
        raise OSError(2, "no sock_diag")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asked = tcp_sockets(LISTEN, port)
        monkeypatch.setattr(sockdiag, "_ask", refused)
        assert tcp_sockets(LISTEN, port) == asked != []


@pytest.mark.parametrize("way", WAYS)
def test_an_ipv4_address_on_an_ipv6_socket_is_shown_as_one(way):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::ffff:127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert [each.address for each in way(socket.AF_INET6, LISTEN, port)] == ["127.0.0.1"]
