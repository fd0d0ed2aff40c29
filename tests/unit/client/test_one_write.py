"""Writes of one loop turn leave together, in order, before a close."""

from __future__ import annotations

import asyncio
import socket

from callmesh._one_write import LARGE, JoinedTransport


class Written:
    """A transport that remembers what it was given; it checks that nothing follows a close."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.parts.append(data)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return name


async def test_the_writes_of_a_turn_are_one() -> None:
    below = Written()
    joined = JoinedTransport(below, asyncio.get_running_loop())
    joined.write(b"head ")
    joined.write(b"body")
    assert below.parts == []
    await asyncio.sleep(0)
    assert below.parts == [b"head body"]
    joined.write(b"next")
    joined.close()
    assert (below.parts, below.closed) == ([b"head body", b"next"], True)
    assert joined.get_extra_info("peername") == "peername"


async def test_what_is_large_does_not_wait() -> None:
    below = Written()
    joined = JoinedTransport(below, asyncio.get_running_loop())
    joined.write(b"x" * (LARGE + 1))
    assert len(below.parts) == 1
    await asyncio.sleep(0)
    assert len(below.parts) == 1


async def test_an_answer_of_uvicorn_is_one_segment() -> None:
    import uvicorn

    from callmesh._asgi import Server, one_write

    async def app(scope: dict, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"4")]})  # fmt: skip
        await send({"type": "http.response.body", "body": b"body"})

    config = uvicorn.Config(app, lifespan="off", log_level="error")
    config.load()
    config.http_protocol_class = one_write(config.http_protocol_class)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await reader.read(4096)
        writer.close()
        server.should_exit = True
    assert answer.endswith(b"\r\n\r\nbody")
