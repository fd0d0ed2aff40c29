"""Where the API listens: a Unix socket for this user, and loopback with a token."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import grpc
import grpc.aio

from callmesh_wire.errors import FailedPreconditionError

MAX_SOCKET_PATH = 107


def read_token(file: Path) -> str:
    """The token in a file that nobody else can read.

    Raises `FailedPreconditionError` if it is missing, empty, or open to others.
    """
    try:
        mode = file.stat().st_mode
        token = file.read_text().strip()
    except FileNotFoundError:
        raise FailedPreconditionError(
            f"the token file `{file}` does not exist: `callmesh up` makes one"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise FailedPreconditionError(
            f"the token file `{file}` can be read by others (mode {stat.S_IMODE(mode):o}): "
            f"run `chmod 600 {file}`"
        )
    if len(token) < 16:
        raise FailedPreconditionError(
            f"the token file `{file}` has no token of at least 16 characters: delete it, "
            "and `callmesh up` makes a new one"
        )
    return token


def bind_unix(server: grpc.aio.Server, path: Path) -> None:
    """Listen on a Unix socket of mode 0600; a dead server's file is replaced.

    Raises `FailedPreconditionError` when another server listens there.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise FailedPreconditionError(
            f"the socket path `{path}` is over {MAX_SOCKET_PATH} bytes: choose a shorter "
            "runtime folder"
        )
    if path.exists():
        if _answers(path):
            raise FailedPreconditionError(f"another server listens on `{path}`: stop it first")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = os.umask(0o177)
    try:
        bound = server.add_insecure_port(f"unix:{path}")
    except RuntimeError:
        bound = 0
    finally:
        os.umask(before)
    if not bound:
        raise FailedPreconditionError(f"cannot listen on `{path}`: is its folder writable?")
    path.chmod(0o600)


def bind_tcp(server: grpc.aio.Server, host: str, port: int) -> int:
    """Listen on ``host``; returns the port, which ``port`` 0 leaves to the system.

    Raises `FailedPreconditionError` that names the holder of a taken port.
    """
    try:
        bound = server.add_insecure_port(_joined(host, port))
    except RuntimeError:
        bound = 0
    if not bound:
        raise FailedPreconditionError(
            f"API port {port} on {host} is taken{holder(port)}: stop that, or choose another "
            "with `--port`"
        )
    return int(bound)


def bind_nodes(
    server: grpc.aio.Server, host: str, port: int, *, key: bytes, certificate: bytes
) -> int:
    """Listen for agents, by TLS; as `bind_tcp`."""
    try:
        bound = server.add_secure_port(
            _joined(host, port), grpc.ssl_server_credentials([(key, certificate)])
        )
    except RuntimeError:
        bound = 0
    if not bound:
        held = holder(port)
        raise FailedPreconditionError(
            f"port {port} on {host} is taken{held}: stop that, or choose another with `--node-port`"
            if held
            else f"cannot listen on `{host}`: name an IP address of this machine with `--address`"
        )
    return int(bound)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def holder(port: int) -> str:
    """Who listens on a TCP port, as " by process 123 (python)", or ""."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            # 0A is LISTEN.
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return _holder_of(inodes) if inodes else ""


def _holder_of(inodes: set[str]) -> str:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f" by process {process.name} ({name})"
        except OSError:
            continue
    return ""


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
