"""The pages' process: started by the first connection, ended by idleness.

Nothing of it runs, or takes memory, until somebody opens a page. The listening
socket stays here, so that a page that ended is started again by the next one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import closing

from callmesh_up.layout import Layout

RESTART_DELAY = 1.0


async def serve(layout: Layout, ingress_port: int) -> None:
    """Keep the pages available until cancelled."""
    with closing(_listen(layout)) as listener:
        try:
            while True:
                await _connection_waits(listener)
                if await _run(layout, listener, ingress_port) != 0:
                    await asyncio.sleep(RESTART_DELAY)
        finally:
            layout.web_socket.unlink(missing_ok=True)


def _listen(layout: Layout) -> socket.socket:
    layout.web_socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(layout.web_socket))
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)  # noqa: FBT003
    return listener


async def _connection_waits(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waits = asyncio.Event()
    loop.add_reader(listener, waits.set)
    try:
        await waits.wait()
    finally:
        loop.remove_reader(listener)


async def _run(layout: Layout, listener: socket.socket, ingress_port: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "callmesh_server.web",
        f"--fd={listener.fileno()}",
        f"--api={layout.api_socket}",
        f"--ingress-port={ingress_port}",
        pass_fds=(listener.fileno(),),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
        raise
