"""`callmesh up --detach`: start the mesh in the background and wait until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from callmesh.cli import output
from callmesh_up import record
from callmesh_up.layout import Layout, prepare
from callmesh_up.options import UpOptions

READY = "ready\n"


def start(options: UpOptions, layout: Layout) -> int:
    """Start it in a session of its own; the exit code for the person who typed."""
    prepare(layout)
    reader, writer = os.pipe()
    with layout.log.open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "callmesh_up",
                "up",
                f"--state-dir={layout.state}",
                f"--port={options.port}",
                f"--ingress-port={options.ingress_port}",
                f"--keep-runs={options.keep_runs}",
                f"--keep-days={options.keep_days}",
                *(f"--cap={kind}={size}" for kind, size in options.caps.items()),
                f"--ready-fd={writer}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
        )
    os.close(writer)
    try:
        with os.fdopen(reader) as answer:
            said = answer.read()
    except KeyboardInterrupt:
        return _give_up(process)
    if said.endswith(READY):
        sys.stderr.write(said.removesuffix(READY))
        return 0
    code = process.wait()
    sys.stderr.write(said or _last_lines(layout.log))
    return code or 1


def _give_up(process: subprocess.Popen[bytes]) -> int:
    """The person does not want the mesh any more: what was started ends."""
    process.terminate()
    process.wait()
    sys.stderr.write("\ninterrupted: no mesh was started\n")
    return output.INTERRUPTED


def _last_lines(log: Path, count: int = 20) -> str:
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "error: the mesh ended before it was ready; its last lines were:\n" + "".join(
        f"  {line}\n" for line in lines
    )


def describe(layout: Layout) -> str:
    """How to use the mesh that runs, for a terminal of 80 columns."""
    found = record.read(layout)
    assert found is not None
    return (
        f"  API      127.0.0.1:{found.api_port}\n"
        f"  browser  http://localhost:{found.ingress_port}/\n"
        f"  state    {layout.state}\n"
    )
