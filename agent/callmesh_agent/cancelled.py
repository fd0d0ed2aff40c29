"""A cancellation that was lost on its way, found again.

A gRPC call that fails at the moment in which its task is cancelled raises the
failure alone, and so does a `TaskGroup` of Python 3.11: whoever tries again
after a failure would then go on for ever.
"""

from __future__ import annotations

import asyncio


def raise_if_cancelled() -> None:
    """Raise `asyncio.CancelledError` where the task that calls this was told to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
