"""The pages' process: started by the first connection, ended by idleness.

Nothing of it runs, or takes memory, until somebody opens a page. The listening
socket stays here, so that a page that ended is started again by the next one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing

from callmesh_agent.unixsocket import listening
from callmesh_up.layout import Layout

RESTART_DELAY = 1.0
BACKLOG = 128


async def serve(layout: Layout, ingress_port: int) -> None:
    """Keep the pages available until cancelled."""
    with closing(listening(layout.web_socket, BACKLOG)) as listener:
        try:
            while True:
                await _readable(listener.fileno())
                if await _run(layout, listener, ingress_port) != 0:
                    await asyncio.sleep(RESTART_DELAY)
        finally:
            layout.web_socket.unlink(missing_ok=True)


async def _run(layout: Layout, listener: socket.socket, ingress_port: int) -> int:
    process = _started(layout, listener, ingress_port)
    try:
        await _ended(process)
    except asyncio.CancelledError:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await _ended(process)
        except TimeoutError:
            process.kill()
        process.wait()
        raise
    return process.wait()


def _started(layout: Layout, listener: socket.socket, ingress_port: int) -> subprocess.Popen[bytes]:
    # Not by the loop's own subprocesses: they fork, and gRPC's threads make that
    # child crash at times. `subprocess` does not run fork handlers.
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "callmesh_server.web"),
            f"--fd={listener.fileno()}",
            f"--api={layout.api_socket}",
            f"--ingress-port={ingress_port}",
        ],
        pass_fds=(listener.fileno(),),
        stdin=subprocess.DEVNULL,
    )


async def _ended(process: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(process.pid)
    try:
        await _readable(pidfd)
    finally:
        os.close(pidfd)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    waits = asyncio.Event()
    loop.add_reader(descriptor, waits.set)
    try:
        await waits.wait()
    finally:
        loop.remove_reader(descriptor)
