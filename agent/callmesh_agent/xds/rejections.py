"""What a client refused, per resource, read from one sentence for all of them.

Envoy and gRPC answer a push with one `error_detail` that strings together an
error for each bad resource; the good ones of the same push apply all the same
(seen for listeners). Who is to blame has to be read out of the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that a client did not take."""

    # "envoy" or "grpc".
    client: str
    # What it is: "Listener", "Cluster", "ClusterLoadAssignment", "RouteConfiguration".
    type: str
    # Empty where the client did not say which.
    name: str
    # The client's own words on it.
    message: str
    # The snapshot that it was pushed with.
    version: int


def split(text: str, names: Iterable[str]) -> dict[str, str]:
    """The part of an error text that speaks of each name that it mentions.

    A name counts where it is followed by a colon, as Envoy ("app: cannot bind
    …") and gRPC ("[resource index 0: app: …") write. Nothing found: the whole
    text under the empty name.
    """
    found = sorted(
        (position, name) for name in names if (position := _find(text, f"{name}: ")) >= 0
    )
    if not found:
        return {"": text.strip()}
    ends = [position for position, _ in found[1:]] + [len(text)]
    return {
        name: text[position + len(name) + 2 : end].strip(" \n,;[]")
        for (position, name), end in zip(found, ends, strict=True)
    }


def _find(text: str, word: str) -> int:
    """Where a word begins that is not the tail of a longer one, or -1."""
    position = text.find(word)
    while position > 0 and (text[position - 1].isalnum() or text[position - 1] in "-/_."):
        position = text.find(word, position + 1)
    return position
