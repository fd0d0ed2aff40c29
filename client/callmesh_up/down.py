"""`callmesh down`: end the mesh of a state folder, whatever is left of it.

A mesh whose server-and-agent process was killed has left its supervisor,
Envoy and workloads running; they are ended too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import sys

from callmesh_up import record
from callmesh_up.layout import Layout

PATIENCE = 45.0
GRACE = 10.0


def run(layout: Layout, *, purge: bool) -> int:
    """End it. 0 when nothing runs any more, also when nothing ran."""
    pid = record.holder(layout)
    ran = False
    if pid:
        ran = True
        try:
            has_ended = _end(pid)
        except KeyboardInterrupt:
            message = f"process {pid} was told to end the mesh, and goes on with that"
            raise KeyboardInterrupt(message) from None
        if not has_ended:
            sys.stderr.write(
                f"error: process {pid} did not end within {PATIENCE:.0f} s\n\n"
                f"hint: look at `{layout.log}`, then `kill -9 {pid}` and try again\n"
            )
            return 1
    ran = asyncio.run(end_supervisor(layout)) or ran
    is_meshs = layout.has_mesh()
    clean(layout)
    what = "the mesh has ended" if ran else "no mesh was running"
    if not purge:
        sys.stderr.write(f"{what} ({layout.state})\n")
        return 0
    left = delete_state(layout) if is_meshs else layout.strangers()
    sys.stderr.write(f"{what} ({layout.state}{'' if left else ', purged'})\n")
    if not left:
        return 0
    names = ", ".join(f"`{each}`" for each in left[:5])
    sys.stderr.write(
        f"error: `{layout.state}` holds more than a mesh's state; left alone: {names}\n\n"
        "hint: look whether it is the folder that was meant\n"
    )
    return 1


def delete_state(layout: Layout) -> list[str]:
    """Delete what a mesh has made in its state folder, and the folder where that was all.

    The names of what is left: somebody else's, or not to be deleted.
    """
    kept = (layout.local_mode / "files", layout.local_mode / "cache")
    for folder in (layout.server, layout.agent, *kept):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        layout.local_mode.rmdir()
    for file in layout.files():
        with contextlib.suppress(OSError):
            file.unlink()
    try:
        layout.state.rmdir()
    except FileNotFoundError:
        return []
    except OSError:
        return sorted(each.name for each in layout.state.iterdir())
    return []


def _end(pid: int) -> bool:
    """TERM a process and wait for its end; False when it takes too long."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], PATIENCE)
        return bool(ended)
    finally:
        os.close(process)


async def end_supervisor(layout: Layout) -> bool:
    """Have the supervisor end everything and itself; False if there is none."""
    from callmesh_agent.supervisor.client import SupervisorClient

    if not layout.supervisor_socket.exists():
        return False
    client = SupervisorClient(str(layout.supervisor_socket))
    try:
        async with asyncio.timeout(PATIENCE):
            return await client.end_supervisor(GRACE)
    except TimeoutError:
        return False


def clean(layout: Layout) -> None:
    """Remove what only a running mesh needs."""
    # `up --detach` and `doctor` never come here: they need not wait for protobuf.
    from callmesh_agent.config import secrets_dir

    shutil.rmtree(secrets_dir(layout.runtime), ignore_errors=True)
    shutil.rmtree(layout.runtime, ignore_errors=True)
    layout.record.unlink(missing_ok=True)
    layout.lock.unlink(missing_ok=True)
