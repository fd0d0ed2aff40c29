"""Requests end with their call: gRPC leaves nothing behind that waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from callmesh_wire.channel import new_server, open_channel
from callmesh_wire.requests import Requests


async def endless() -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.get_running_loop().create_future()


def waiting() -> list[str]:
    """Tasks of gRPC that take requests."""
    told = [repr(task) for task in asyncio.all_tasks()]
    return [each for each in told if "_consume_request_iterator" in each]


class Refusing(grpc.GenericRpcHandler):
    """Answers once, then fails."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            yield await anext(requests)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "over")

        return grpc.stream_stream_rpc_method_handler(answer)


async def call(target: str) -> tuple[list[bytes], grpc.StatusCode]:
    """One call with requests that would never end; its answers and how it ended."""
    answers = []
    async with open_channel(target) as channel:
        requests = Requests(endless())
        running = channel.stream_stream("/a.B/C")(requests)
        code = grpc.StatusCode.OK
        try:
            async for each in running:
                answers.append(each)
        except grpc.aio.AioRpcError as problem:
            code = problem.code()
        assert bool(waiting()) == bool(answers), "one that was answered leaves its taker"
        requests.end()
        async with asyncio.timeout(5):
            while waiting():
                await asyncio.sleep(0.01)
    return answers, code


async def test_nobody_waits_for_requests_of_a_call_that_failed() -> None:
    server = new_server()
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await call(f"127.0.0.1:{port}") == ([b"first"], grpc.StatusCode.UNAVAILABLE)
    finally:
        await server.stop(0)


async def test_nor_of_one_that_never_reached_a_server() -> None:
    assert await call("127.0.0.1:1") == ([], grpc.StatusCode.UNAVAILABLE)
