"""The command line of `python -m callmesh_up`, which `callmesh up` and `down` call."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from callmesh_up.layout import default_state

DEFAULT_API_PORT = 7433
DEFAULT_INGRESS_PORT = 7480
DEFAULT_KEEP_RUNS = 10_000
DEFAULT_KEEP_DAYS = 30.0


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


def parse(arguments: list[str]) -> UpOptions | DownOptions | DoctorOptions:
    """The options; exits with 2 and a message where they are wrong."""
    parser = argparse.ArgumentParser(prog="callmesh_up", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="run a mesh on this machine")
    up.add_argument("--port", type=_port, default=DEFAULT_API_PORT)
    up.add_argument("--ingress-port", type=_port, default=DEFAULT_INGRESS_PORT)
    up.add_argument("--detach", action="store_true")
    up.add_argument("--ready-fd", type=int)
    up.add_argument("--keep-runs", type=int, default=DEFAULT_KEEP_RUNS)
    up.add_argument("--keep-days", type=float, default=DEFAULT_KEEP_DAYS)
    down = verbs.add_parser("down", help="end it")
    down.add_argument("--purge", action="store_true")
    doctor = verbs.add_parser("doctor", help="say what is wrong")
    doctor.add_argument("--json", action="store_true")
    for verb in (up, down, doctor):
        verb.add_argument("--state-dir", type=Path, default=default_state(os.environ))
    found = parser.parse_args(arguments)
    if found.verb == "down":
        return DownOptions(state_dir=found.state_dir, purge=found.purge)
    if found.verb == "doctor":
        return DoctorOptions(state_dir=found.state_dir, as_json=found.json)
    return UpOptions(
        state_dir=found.state_dir,
        port=found.port,
        ingress_port=found.ingress_port,
        detach=found.detach,
        ready_fd=found.ready_fd,
        keep_runs=found.keep_runs,
        keep_days=found.keep_days,
    )


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number from 0 to 65535") from None
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number from 0 to 65535")
    return port
