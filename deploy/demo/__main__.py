"""`make demo`: a mesh, the examples on it, one call of each pattern.

On a terminal the mesh is left running, with its addresses, until Ctrl-C.
Elsewhere (and where CI is set) it is ended after the calls; the exit code is 0
if all of them, and the end, went well.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from calls import CALLS, FILES, Call, Mesh
from screen import Screen, cut, seconds, table
from stage import DemoProblem, Stage, only_demo
from terminal import alone_in_front

import callmesh as flyte

WIDTHS = (19, 20, 28, 6)
OPEN = (
    ("the mesh's own pages", ""),
    ("a Streamlit dashboard", "dashboard."),
    ("a run, as it happens", "baker."),
    ("a plain Python program", "world-clock."),
)


def main() -> int:
    """The exit code."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and "CI" not in os.environ
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _interrupt)
    screen, stage = Screen(live=terminal), Stage(_home())
    problems: list[str] = []
    try:
        with only_demo(stage.home), alone_in_front(terminal=terminal):
            return _perform(screen, stage, problems, terminal=terminal)
    except DemoProblem as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1


def _perform(screen: Screen, stage: Stage, problems: list[str], *, terminal: bool) -> int:
    try:
        _play(screen, stage, problems)
        if terminal:
            _stay(screen, stage)
    except KeyboardInterrupt:
        screen.say()
    except DemoProblem as problem:
        problems.append(str(problem))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        left = stage.down(screen)
        problems += [f"left behind: {each}" for each in left]
        if not left:
            screen.say("The mesh has ended: no process, port, socket or lock of it is left.")
    except DemoProblem as problem:
        problems.append(str(problem))
    for each in problems:
        sys.stderr.write(f"error: {each}\n")
    return 1 if problems else 0


def _play(screen: Screen, stage: Stage, problems: list[str]) -> None:
    began = time.monotonic()
    screen.say("1. Starting the mesh")
    stage.up(screen)
    record = stage.record()
    screen.say(f"  ready after {seconds(time.monotonic() - began)}: server, agent and Envoy")
    screen.say(f"  {stage.state}")
    screen.say("\n2. Deploying the examples")
    for file, options in FILES.items():
        began = time.monotonic()
        with screen.waiting(f"deploying {file}") as wait:
            stage.cli(wait, "deploy", f"examples/{file}", *options)
        screen.say(f"  {seconds(time.monotonic() - began):>6}  callmesh deploy examples/{file}")
    screen.say("\n3. Calling")
    os.environ["XDG_STATE_HOME"] = str(stage.home)
    flyte.init_from_config()
    mesh = Mesh(record["ingress_port"])
    mesh.learn()
    rows = [_make(screen, mesh, call, problems) for call in CALLS]
    screen.say("\n4. Who called whom\n")
    screen.say(table(("who", "called", "answer", "time"), rows, WIDTHS))
    failed = f"{len(problems)} of them failed" if problems else "all of them answered"
    screen.say(f"\n{len(rows)} calls; {failed}.\n")


def _make(screen: Screen, mesh: Mesh, call: Call, problems: list[str]) -> tuple[str, ...]:
    began = time.monotonic()
    with screen.waiting(f"{call.caller} -> {call.called}"):
        try:
            answer = call.make(mesh)
        except Exception as problem:  # noqa: BLE001 - the other calls are made all the same
            reason = f"{type(problem).__name__}: {problem}"
            answer = f"FAILED: {reason}"
            problems.append(f"{call.caller} could not call {call.called}: {reason}")
    took = seconds(time.monotonic() - began)
    screen.say(cut(f"  {took:>6}  {call.pattern:21}  {answer}", 80))
    return call.caller, call.called, answer, took


def _stay(screen: Screen, stage: Stage) -> None:
    port = stage.record()["ingress_port"]
    screen.say("The mesh goes on running. To open in a browser:\n")
    for what, prefix in OPEN:
        screen.say(f"  {what:24} http://{prefix}localhost:{port}/")
    screen.say("\nTo ask it from another terminal:\n")
    screen.say(f"  export XDG_STATE_HOME={stage.home}")
    screen.say("  .venv/bin/callmesh get apps")
    screen.say("\nCtrl-C ends it.")
    signal.pause()


def _home() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "callmesh-demo"


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
