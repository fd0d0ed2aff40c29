"""Calls of the control plane that workloads make through their node's agent.

A workload may call `WORKLOAD_METHODS` and nothing else. Who it is comes from
the kernel; what it says about itself, such as the parent of a run that it
submits, is overwritten.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from callmesh_agent.link import Calls, WorkloadIdentity
from callmesh_wire import errors
from callmesh_wire.methods import WORKLOAD_METHODS, methods
from callmeshpb.v1 import scheduler_pb2, workload_pb2

# Requests of one call that were read and not yet taken by the server.
QUEUED = 64
log = logging.getLogger("callmesh.agent")


class Requests:
    """The requests of one call: read from the socket, taken by the server, bounded."""

    def __init__(self, hold: Callable[[], None], resume: Callable[[], None]) -> None:
        """``hold`` and ``resume`` stop and restart reading from the workload."""
        self._hold = hold
        self._resume = resume
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._held = False

    def put(self, payload: bytes) -> None:
        """One more request."""
        self._queue.append(payload)
        if len(self._queue) >= QUEUED and not self._held:
            self._held = True
            self._hold()
        self._wake.set()

    def end(self) -> None:
        """No more requests."""
        self._ended = True
        self._wake.set()

    def release(self) -> None:
        """The call is over: what else comes is read and dropped."""
        self._queue.clear()
        if self._held:
            self._held = False
            self._resume()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._queue:
                payload = self._queue.popleft()
                if self._held and len(self._queue) < QUEUED // 2:
                    self._held = False
                    self._resume()
                yield payload
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class Caller:
    """Who calls, at the time of each question: a worker's run changes under a standing stream."""

    def __init__(self, identity: Callable[[], WorkloadIdentity]) -> None:
        self._identity = identity

    @property
    def identity(self) -> WorkloadIdentity:
        """The caller now."""
        return self._identity()


async def forward(
    control: Calls,
    call: workload_pb2.WorkloadCall,
    requests: Requests,
    caller: Caller,
    send: Callable[[workload_pb2.WorkloadCallReply], object],
    writable: Callable[[], object],
) -> None:
    """Make one call and send everything that is answered; never raises but on cancellation."""
    try:
        await _forward(control, call, requests, caller, send, writable)
    except errors.CallmeshError as problem:
        send(failed(call.id, problem))
    except Exception:  # the boundary of a workload's call: it must hear of a defect of ours
        log.exception("call %s of a workload", call.method)
        why = f"`{call.method}` failed inside the mesh: see the agent's log"
        send(failed(call.id, errors.InternalError(why)))
    finally:
        requests.release()


async def _forward(
    control: Calls,
    call: workload_pb2.WorkloadCall,
    requests: Requests,
    caller: Caller,
    send: Callable[[workload_pb2.WorkloadCallReply], object],
    writable: Callable[[], object],
) -> None:
    if call.method not in WORKLOAD_METHODS:
        raise errors.PermissionDeniedError(
            f"a workload may not call `{call.method}`: do it with the `callmesh` command"
        )
    stream = methods()[call.method].server_streaming
    answered = False
    identity = replace(caller.identity, authorization=call.authorization)
    answers = control.call(call.method, _signed(call.method, requests, caller), identity)
    async for payload in answers:
        answered = True
        reply = workload_pb2.WorkloadCallReply(id=call.id, payload=payload, end=not stream)
        send(reply)
        if not stream:
            return
        waiting = writable()
        if waiting is not None:
            await waiting  # type: ignore[misc]
    if stream:
        send(workload_pb2.WorkloadCallReply(id=call.id, end=True))
    elif not answered:
        raise errors.UnavailableError(f"`{call.method}` was not answered: try again")


def failed(call_id: int, problem: errors.CallmeshError) -> workload_pb2.WorkloadCallReply:
    """The last reply of a call that failed."""
    return workload_pb2.WorkloadCallReply(id=call_id, end=True, status=errors.to_status(problem))


async def _signed(method: str, requests: Requests, caller: Caller) -> AsyncIterator[bytes]:
    """The requests, each submission with the run that really makes it as its parent."""
    async for payload in requests:
        if method == "SchedulerService/Submit":
            batch = scheduler_pb2.SubmitRequest.FromString(payload)
            for each in batch.submissions:
                each.parent = caller.identity.run
            yield batch.SerializeToString()
        elif method == "SchedulerService/RunTask":
            single = scheduler_pb2.RunTaskRequest.FromString(payload)
            single.submission.parent = caller.identity.run
            yield single.SerializeToString()
        else:
            yield payload
