"""TCP sockets of this machine, asked of the kernel by netlink (sock_diag(7)).

`/proc/net/tcp` tells the same and takes tens of milliseconds where there are a
thousand sockets, in which the event loop would stand still; here the kernel
looks only at what is asked for. Where it has no sock_diag, `/proc` is read.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = 1
LISTEN = 10

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_HEADER = struct.Struct("=IHHII")
# family, protocol, ext, pad, states, then the socket id: ports, addresses, interface, cookie.
_ASK = struct.Struct("=BBBxI")
_ID_SIZE = 48
_ANSWER_SIZE = 72
_BUFFER = 1 << 16
_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


# Before an IPv4 address in an IPv6 one (RFC 4291, 2.5.5.2).
_MAPPED = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Socket:
    """One TCP socket, by its local end."""

    address: str
    port: int
    inode: int


def tcp_sockets(state: int, port: int = 0) -> list[Socket]:
    """The sockets in a state, IPv4 before IPv6; with ``port``, those of a local port."""
    found = []
    for family in _TABLES:
        try:
            found += _ask(family, state, port)
        except OSError:
            found += _read(family, state, port)
    return found


def _ask(family: int, state: int, port: int) -> list[Socket]:
    request = _ASK.pack(family, socket.IPPROTO_TCP, 0, 1 << state)
    request += struct.pack("!HH", port, 0).ljust(_ID_SIZE, b"\0")
    length = _HEADER.size + len(request)
    found: list[Socket] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        netlink.send(_HEADER.pack(length, _BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
        while True:
            for kind, payload in _messages(netlink.recv(_BUFFER)):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", payload)
                    raise OSError(-code, os.strerror(-code))
                each = _parsed(family, payload)
                if not port or each.port == port:
                    found.append(each)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _parsed(family: int, payload: bytes) -> Socket:
    (port,) = struct.unpack_from("!H", payload, 4)
    size = 4 if family == socket.AF_INET else 16
    (inode,) = struct.unpack_from("=I", payload, _ANSWER_SIZE - 4)
    return Socket(_shown(family, payload[8 : 8 + size]), port, inode)


def _read(family: int, state: int, port: int) -> list[Socket]:
    try:
        lines = Path(_TABLES[socket.AddressFamily(family)]).read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        if int(fields[3], 16) == state:
            address, local_port = _address(family, fields[1])
            if not port or local_port == port:
                found.append(Socket(address, local_port, int(fields[9])))
    return found


def _address(family: int, text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    words = bytes.fromhex(host)
    # Each four bytes are in this machine's order.
    packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
    return _shown(family, packed), int(port, 16)


def _shown(family: int, packed: bytes) -> str:
    """The address; an IPv4 one on an IPv6 socket as what it is.

    gRPC listens so, and Envoy does not connect to `::ffff:127.0.0.1`.
    """
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return socket.inet_ntop(family, packed)
