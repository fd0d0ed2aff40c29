"""Epoch seconds and protobuf's times, both ways."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def stamp(now: float) -> Timestamp:
    """Epoch seconds as a message."""
    whole = int(now)
    return Timestamp(seconds=whole, nanos=int((now - whole) * 1_000_000_000))


def seconds(moment: Timestamp) -> float:
    """A message as epoch seconds."""
    return float(moment.seconds + moment.nanos / 1_000_000_000)


def span(duration: Duration) -> float:
    """A duration in seconds; 0 for one that is not set."""
    return float(duration.seconds + duration.nanos / 1_000_000_000)
