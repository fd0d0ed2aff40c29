"""What requests may look like: finds every mistake, and says them all at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized

from callmesh_wire.errors import InvalidArgumentError
from callmesh_wire.names import DEFAULT_DOMAIN, DEFAULT_PROJECT, NameProblem, check_scope
from callmeshpb.v1 import common_pb2

MAX_PROBLEMS = 50
MAX_REQUEST_ID = 128
MAX_ENV_VARS = 1_000
# Linux refuses a longer string in a new process's environment.
MAX_ENV_VALUE = 128 * 1024 - 1
MAX_TEXT = 64 * 1024
MAX_INLINE = 10 * 1024 * 1024
MAX_CONTEXT = 100

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}\Z")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9])?\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_REQUEST_ID = re.compile(r"[!-~]{1,128}\Z")


class Problems:
    """The mistakes of one request, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, sentence: str) -> None:
        """Note one mistake."""
        self._found.append(sentence)

    def name(self, check: Callable[[str], str], value: str, where: str = "") -> None:
        """Note what a check of `callmesh_wire.names` has against a name."""
        try:
            check(value)
        except NameProblem as problem:
            self.add(f"{where}: {problem}" if where else str(problem))

    def count(self, what: Sized, limit: int, where: str) -> None:
        """Note a list, a map or a text that is too long."""
        if len(what) > limit:
            self.add(f"`{where}` has {len(what):,} entries: must be at most {limit:,}")

    def text(self, value: str | bytes, limit: int, where: str) -> None:
        """Note a text that is too long."""
        if len(value) > limit:
            self.add(f"`{where}` has {len(value):,} characters: must be at most {limit:,}")

    def version(self, value: str, where: str) -> None:
        """Note a malformed version."""
        if not _VERSION.match(value):
            self.add(
                f"`{where}` is `{value[:130]}`: must be 1 to 128 letters, digits, `.`, `_`, "
                "`+` or `-`, with a letter or digit at both ends"
            )

    def env_vars(self, values: Mapping[str, str], where: str) -> None:
        """Note environment variables that no process could get."""
        self.count(values, MAX_ENV_VARS, where)
        for name, value in values.items():
            self.env_name(name, where)
            if len(value.encode()) > MAX_ENV_VALUE or "\0" in value:
                self.add(
                    f"`{where}[{name[:60]}]` must be at most {MAX_ENV_VALUE:,} bytes without NUL"
                )

    def env_name(self, name: str, where: str) -> None:
        """Note a name that is none of an environment variable."""
        if not _ENV_NAME.match(name):
            self.add(
                f"`{where}` has `{name[:60]}`: must be letters, digits and `_`, "
                "not beginning with a digit"
            )

    def within(self, value: float, low: float, high: float, where: str) -> None:
        """Note a number out of its range."""
        if not low <= value <= high:
            self.add(f"`{where}` is {value:g}: must be between {low:g} and {high:g}")

    def digest(self, value: str, where: str) -> None:
        """Note what is no SHA-256 in hex."""
        if not is_digest(value):
            self.add(f"`{where}` is `{value[:70]}`: must be 64 lower-case hex digits (SHA-256)")

    def raise_if_any(self) -> None:
        """Raise `InvalidArgumentError` with every mistake, one a line."""
        if not self._found:
            return
        lines = self._found[:MAX_PROBLEMS]
        if len(self._found) > MAX_PROBLEMS:
            lines.append(f"and {len(self._found) - MAX_PROBLEMS} more")
        raise InvalidArgumentError("\n".join(lines))


def is_digest(value: str) -> bool:
    """Whether this is a SHA-256 in lower-case hex."""
    return _DIGEST.match(value) is not None


def scope_of(scope: common_pb2.Scope, problems: Problems | None = None) -> tuple[str, str]:
    """Project and domain with their defaults; malformed ones are noted or raised."""
    found = problems or Problems()
    project = scope.project or DEFAULT_PROJECT
    domain = scope.domain or DEFAULT_DOMAIN
    found.name(lambda value: check_scope(value, "project"), project)
    found.name(lambda value: check_scope(value, "domain"), domain)
    if problems is None:
        found.raise_if_any()
    return project, domain


def check_request_id(request_id: str) -> str:
    """A mutation's request id, if it can be one; empty: the answer is not remembered."""
    if request_id and not _REQUEST_ID.match(request_id):
        raise InvalidArgumentError(
            f"`request_id` must be 1 to {MAX_REQUEST_ID} printable ASCII characters"
        )
    return request_id
