"""What an app is made of besides its code: port, links, domain, scaling, timeouts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal

from callmesh.app.parameters import seconds_of

RESERVED_PORTS = frozenset((8012, 8022, 8112, 9090, 9091))
MAX_REQUEST_TIMEOUT = 3600.0
DEFAULT_REPLICAS = (0, 1)
_HOST = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*\Z")
_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class Port:
    """The port that an app's author wrote down, 1 to 65535.

    Raises `ValueError` for another number and for those that Flyte reserves,
    `TypeError` for what is no number.
    """

    port: int
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.port, bool) or not isinstance(self.port, int):
            raise TypeError(f"a port must be a number, not {self.port!r}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"a port must be between 1 and 65535, not {self.port}")
        if self.port in RESERVED_PORTS:
            raise ValueError(
                f"port {self.port} is reserved: must be none of "
                + ", ".join(str(port) for port in sorted(RESERVED_PORTS))
            )


class ListenPort(int):
    """A port number that also answers as `Port` does: both spellings are in use."""

    @property
    def port(self) -> int:
        """The number."""
        return int(self)

    @property
    def name(self) -> None:
        """The mesh's choice has no name."""


@dataclass(frozen=True, slots=True)
class Link:
    """A page of an app that is worth a click: shown under ``title``.

    ``path`` is a path of the app or a whole address; which one, its text says, and
    ``is_relative`` is only kept.
    """

    path: str
    title: str
    is_relative: bool = False


@dataclass(frozen=True, slots=True)
class Subdomain:
    """A host name under the ingress."""

    name: str

    @classmethod
    def from_app_name(cls, name: str, style: Literal["hash", "default"] = "default") -> Subdomain:
        """The name of the app itself."""
        del style
        return cls(name)

    @classmethod
    def from_function(cls, function: Callable[[], str]) -> Subdomain:
        """What a function returns, asked now."""
        return cls(function())


@dataclass(frozen=True, slots=True)
class Domain:
    """Host names that the ingress answers besides ``<app>.localhost``.

    ``subdomain`` is one label, which becomes ``<subdomain>.localhost``;
    ``custom_domain`` a whole host name. Raises `ValueError` for other text.
    """

    subdomain: str | Subdomain | None = None
    custom_domain: str | None = None

    def __post_init__(self) -> None:
        label = self.subdomain.name if isinstance(self.subdomain, Subdomain) else self.subdomain
        if label is not None and not _LABEL.match(label):
            raise ValueError(
                f"`subdomain` must be lower-case letters, digits and `-`, not {label!r}"
            )
        if self.custom_domain is not None and not _HOST.match(self.custom_domain):
            raise ValueError(f"`custom_domain` must be a host name, not {self.custom_domain!r}")

    @property
    def host(self) -> str:
        """The further host name, or "". A custom domain wins over a subdomain."""
        if self.custom_domain:
            return self.custom_domain
        label = self.subdomain.name if isinstance(self.subdomain, Subdomain) else self.subdomain
        return f"{label}.localhost" if label else ""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Scale by calls in flight per replica."""

    val: int

    def __post_init__(self) -> None:
        if self.val < 1:
            raise ValueError(f"a concurrency must be at least 1, not {self.val}")


@dataclass(frozen=True, slots=True)
class RequestRate:
    """Scale by calls a second per replica."""

    val: int

    def __post_init__(self) -> None:
        if self.val < 1:
            raise ValueError(f"a request rate must be at least 1, not {self.val}")


Metric = Concurrency | RequestRate


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many instances: a count, or a pair of minimum and maximum.

    Of a pair the minimum runs, at least one. ``metric`` and ``scaledown_after``
    (seconds) are kept, and not acted on. Raises `ValueError` and `TypeError`.
    """

    Concurrency: ClassVar = Concurrency
    RequestRate: ClassVar = RequestRate

    replicas: int | tuple[int, int] = DEFAULT_REPLICAS
    metric: Metric | None = None
    scaledown_after: int | timedelta | None = None

    def __post_init__(self) -> None:
        low, high = self.get_replicas()
        if low < 0 or high < 1 or low > high:
            raise ValueError(
                "`replicas` must be a count of at least 1, or a pair (minimum, maximum), "
                f"not {self.replicas!r}"
            )
        if self.metric is not None and not isinstance(self.metric, Metric):
            raise TypeError(
                "`metric` must be `Scaling.Concurrency` or `Scaling.RequestRate`, "
                f"not {self.metric!r}"
            )
        seconds_of(self.scaledown_after, "scaledown_after")

    @property
    def asks_for_zero(self) -> bool:
        """The user wrote down that no instance may be left."""
        return self.replicas is not DEFAULT_REPLICAS and self.get_replicas()[0] == 0

    def get_replicas(self) -> tuple[int, int]:
        """Minimum and maximum. Raises `TypeError`."""
        pair = self.replicas if isinstance(self.replicas, tuple) else (self.replicas, self.replicas)
        if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
            raise TypeError(
                f"`replicas` must be a whole number or a pair of them, not {self.replicas!r}"
            )
        return pair


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds or as `timedelta`.

    ``request`` is for one call through the mesh (none unless set, at most an
    hour), ``startup`` from start to ready (60 s), ``drain`` for calls in flight
    when an instance is replaced (30 s).
    """

    request: int | float | timedelta | None = None
    startup: int | float | timedelta | None = None
    drain: int | float | timedelta | None = None

    def __post_init__(self) -> None:
        if seconds_of(self.request, "request") > MAX_REQUEST_TIMEOUT:
            raise ValueError("`request` must be at most an hour")
        seconds_of(self.startup, "startup")
        seconds_of(self.drain, "drain")
