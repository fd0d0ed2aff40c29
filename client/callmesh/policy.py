"""How a task is run: retries, timeouts, caching, reuse of workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Span = int | float | timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before retry n is ``min(base * factor**n, cap)``."""

    base: timedelta
    factor: float = 1.0
    cap: timedelta | None = None

    def __post_init__(self) -> None:
        if self.base < timedelta(0) or self.factor < 1.0:
            raise ValueError("`base` must not be negative and `factor` must be at least 1")
        if self.factor > 1.0 and self.cap is None:
            raise ValueError("`cap` must be given where `factor` is more than 1")

    def delay(self, retry: int) -> float:
        """Seconds before retry number ``retry``, from 0."""
        delay = self.base.total_seconds() * self.factor**retry
        return delay if self.cap is None else min(delay, self.cap.total_seconds())


DEFAULT_BACKOFF = Backoff(timedelta(seconds=0.5), 2.0, timedelta(seconds=60))


@dataclass(frozen=True, slots=True)
class RetryStrategy:
    """How often a task that failed is tried again, and when."""

    count: int
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"`count` of a retry strategy must not be negative: {self.count}")


@dataclass(frozen=True, slots=True)
class Timeout:
    """Limits in seconds or as `timedelta`; 0 and None mean none.

    ``max_runtime`` is for one attempt, ``max_queued_time`` until it starts,
    ``deadline`` for the whole run with all its attempts.
    """

    max_runtime: Span | None = None
    max_queued_time: Span | None = None
    deadline: Span | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """Whether a result may be used again for equal inputs.

    "auto": for as long as the function's body, or what ``policies`` say, is the
    same. "override": for as long as ``version_override`` is. ``max_age`` is in
    seconds. Equal runs at the same time execute each, unless ``serialize``: then
    they wait for the first of them and share its result (on a mesh).
    """

    behavior: Literal["auto", "override", "disable"]
    version_override: str | None = None
    serialize: bool = False
    ignored_inputs: str | Sequence[str] = ()
    salt: str = ""
    policies: Sequence[Any] | Any | None = None
    max_age: Span | None = None

    def __post_init__(self) -> None:
        if self.behavior not in ("auto", "override", "disable"):
            raise ValueError(
                f'`behavior` must be "auto", "override" or "disable", not {self.behavior!r}'
            )
        if (self.behavior == "override") != bool(self.version_override):
            raise ValueError('`version_override` must be given with "override", and only there')
        seconds(self.max_age)


@dataclass(frozen=True, slots=True)
class VersionParameters:
    """What a cache policy's ``get_version(salt, parameters)`` is told."""

    func: Callable[..., Any]
    image: object = None


CacheRequest = Literal["auto", "override", "disable"] | Cache


@dataclass(frozen=True, slots=True)
class ReusePolicy:
    """Workers that outlive an attempt. Means nothing here: the mesh reuses workers anyway."""

    replicas: int | tuple[int, int] = 2
    idle_ttl: Span = 30
    concurrency: int = 1
    scaledown_ttl: Span = 30
    scope: Literal["global", "run"] = "global"


def seconds(value: Span | None) -> float:
    """A span in seconds; None is 0. Raises `ValueError` for a negative one."""
    if value is None:
        return 0.0
    amount = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if amount < 0:
        raise ValueError(f"a time span must not be negative: {value!r}")
    return amount


def retries_of(request: int | RetryStrategy | None) -> RetryStrategy:
    """A declaration's retries. Raises `TypeError`."""
    if request is None:
        return RetryStrategy(0)
    if isinstance(request, RetryStrategy):
        return request
    if isinstance(request, int) and not isinstance(request, bool):
        return RetryStrategy(request)
    raise TypeError(f"`retries` must be a count or a `RetryStrategy`, not {request!r}")


def timeout_of(request: Span | Timeout | None) -> Timeout:
    """A declaration's timeout; a bare span is `max_runtime`."""
    made = request if isinstance(request, Timeout) else Timeout(max_runtime=request)
    for value in (made.max_runtime, made.max_queued_time, made.deadline):
        seconds(value)
    return made


@dataclass(frozen=True, slots=True)
class Unused:
    """Options that are accepted and not acted on yet, by name."""

    options: Mapping[str, object] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Those that the user set to something."""
        return [name for name, value in self.options.items() if value]


NO_RETRIES = RetryStrategy(0)
NO_TIMEOUT = Timeout()
NOTHING_UNUSED = Unused()
