"""Pages of lists: sizes, and tokens that clients hand back unread."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from callmesh_wire.errors import InvalidArgumentError

DEFAULT_SIZE = 100
MAX_SIZE = 1_000

Item = TypeVar("Item")


def page_size(asked: int) -> int:
    """How many items to return: 0 means `DEFAULT_SIZE`, at most `MAX_SIZE`."""
    if asked < 0:
        raise InvalidArgumentError(f"`page_size` is {asked}: must not be negative")
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def encode_token(position: str) -> str:
    """The token of the page after ``position``."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """The position of a token, "" for the first page."""
    if len(token) > 1_024:
        raise InvalidArgumentError("`page_token` is not one that this server gave")
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidArgumentError("`page_token` is not one that this server gave") from None


def page(
    items: Sequence[Item], key: Callable[[Item], str], size: int, token: str
) -> tuple[list[Item], str]:
    """The items after the token's, ordered by their unique key, and the next token."""
    after = decode_token(token)
    wanted = page_size(size)
    rest = sorted((item for item in items if not token or key(item) > after), key=key)
    found = rest[:wanted]
    more = len(rest) > wanted
    return found, encode_token(key(found[-1])) if more else ""
