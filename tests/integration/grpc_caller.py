"""A gRPC client of its own process: `python grpc_caller.py TARGET aio|sync`.

Each line on standard input is one call; the answer, or the status, is printed.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio

METHOD = "/greeter.Greeter/Greet"
DEADLINE = 10.0


def said(problem: grpc.RpcError) -> str:
    return f"{problem.code().name}: {problem.details()}"


def sync(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        greet = channel.unary_unary(METHOD)
        for line in sys.stdin:
            try:
                print(greet(line.strip().encode(), timeout=DEADLINE).decode(), flush=True)
            except grpc.RpcError as problem:
                print(said(problem), flush=True)


async def aio(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        greet = channel.unary_unary(METHOD)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                answer = await greet(line.strip().encode(), timeout=DEADLINE)
                print(answer.decode(), flush=True)
            except grpc.RpcError as problem:
                print(said(problem), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "sync":
        sync(sys.argv[1])
    else:
        asyncio.run(aio(sys.argv[1]))
