"""The command line of `python -m callmesh_up`, which `callmesh up`, `down`, … call."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from callmesh_up.layout import default_state

DEFAULT_API_PORT = 7433
DEFAULT_NODE_PORT = 7434
DEFAULT_INGRESS_PORT = 7480
DEFAULT_KEEP_RUNS = 10_000
DEFAULT_KEEP_DAYS = 30.0
DEFAULT_LEASE = 15.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `up` was asked for. A port of 0 means any free one, kept from then on."""

    state_dir: Path
    port: int
    ingress_port: int
    detach: bool
    ready_fd: int | None
    # How many ended runs are kept, and for how many days.
    keep_runs: int
    keep_days: float
    # Bytes by what is kept on the node's disk.
    caps: dict[str, int]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What `server` was asked for."""

    state_dir: Path
    port: int
    # Where agents connect.
    address: str
    node_port: int
    # Seconds for which a silent node counts as living.
    lease: float
    # Of the nodes' ingresses, for the URLs that are handed out.
    ingress_port: int
    keep_runs: int
    keep_days: float


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What `agent` was asked for."""

    state_dir: Path
    # HOST:PORT of the server.
    server: str
    join_token_file: Path
    name: str
    # Where other nodes call this one; empty: they cannot.
    address: str
    zone: str
    labels: dict[str, str]
    slots: int
    ingress_port: int
    ingress_address: str
    caps: dict[str, int]


@dataclass(frozen=True, slots=True)
class DownOptions:
    """What `down` was asked for."""

    state_dir: Path
    purge: bool


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What `doctor` was asked for."""

    state_dir: Path
    as_json: bool


Options = UpOptions | ServerOptions | AgentOptions | DownOptions | DoctorOptions


def parse(arguments: list[str]) -> Options:
    """The options; exits with 2 and a message where they are wrong."""
    parser = argparse.ArgumentParser(prog="callmesh_up", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="run a mesh on this machine")
    up.add_argument("--detach", action="store_true")
    up.add_argument("--ready-fd", type=int)
    server = verbs.add_parser("server", help="run a control plane")
    server.add_argument("--address", default=LOOPBACK)
    server.add_argument("--node-port", type=_port, default=DEFAULT_NODE_PORT)
    server.add_argument("--lease", type=float, default=DEFAULT_LEASE)
    for verb in (up, server):
        verb.add_argument("--port", type=_port, default=DEFAULT_API_PORT)
        verb.add_argument("--ingress-port", type=_port, default=DEFAULT_INGRESS_PORT)
        verb.add_argument("--keep-runs", type=int, default=DEFAULT_KEEP_RUNS)
        verb.add_argument("--keep-days", type=float, default=DEFAULT_KEEP_DAYS)
    agent = verbs.add_parser("agent", help="run a node")
    agent.add_argument("--server", required=True)
    agent.add_argument("--join-token-file", type=Path, required=True)
    agent.add_argument("--name", required=True)
    agent.add_argument("--address", default="")
    agent.add_argument("--zone", default="")
    agent.add_argument("--label", dest="labels", type=_pair, action="append", default=[])
    agent.add_argument("--slots", type=int, default=0)
    agent.add_argument("--ingress-port", type=_port, default=DEFAULT_INGRESS_PORT)
    agent.add_argument("--ingress-address", default=LOOPBACK)
    for verb in (up, agent):
        verb.add_argument("--cap", dest="caps", type=_pair, action="append", default=[])
    down = verbs.add_parser("down", help="end it")
    down.add_argument("--purge", action="store_true")
    doctor = verbs.add_parser("doctor", help="say what is wrong")
    doctor.add_argument("--json", dest="as_json", action="store_true")
    for verb in (up, server, agent, down, doctor):
        verb.add_argument("--state-dir", type=Path, default=default_state(os.environ))
    found = vars(parser.parse_args(arguments))
    match found.pop("verb"):
        case "up":
            return UpOptions(**{**found, "caps": _sizes(found["caps"])})
        case "server":
            return ServerOptions(**found)
        case "agent":
            labels, caps = dict(found["labels"]), _sizes(found["caps"])
            return AgentOptions(**{**found, "labels": labels, "caps": caps})
        case "down":
            return DownOptions(**found)
        case _:
            return DoctorOptions(**found)


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _sizes(pairs: list[tuple[str, str]]) -> dict[str, int]:
    return {kind: int(size) for kind, size in pairs}


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number from 0 to 65535") from None
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number from 0 to 65535")
    return port
