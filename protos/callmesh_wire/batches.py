"""Many messages in one, within what a gRPC message may be.

Seen on one stream: one message a frame 3,000 tasks/s, 128 a frame 55,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

Item = TypeVar("Item", bound=Message)

# Bytes. One message may be larger: it is then a batch of its own.
SIZE = 8 * 1024 * 1024
COUNT = 256


def batches(messages: Iterable[Item]) -> Iterator[list[Item]]:
    """The messages in their order, in lists of at most `COUNT` and about `SIZE`."""
    batch: list[Item] = []
    size = 0
    for each in messages:
        more = each.ByteSize()
        if batch and (len(batch) >= COUNT or size + more > SIZE):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += more
    if batch:
        yield batch
