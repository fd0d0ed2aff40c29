"""Compute that is asked for: cores, memory, disk, devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)\Z")
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGT", 1)
}

Amount = int | float | str
Pair = tuple[Amount, Amount]


@dataclass(frozen=True, slots=True)
class Device:
    """A device request, such as two A100s. Made by `GPU`, `TPU` and their like."""

    name: str
    quantity: int = 1

    def __str__(self) -> str:
        return f"{self.name}:{self.quantity}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task attempt or an app instance needs.

    ``cpu`` is cores (`2`, `0.5`, `"500m"`); ``memory`` and ``disk`` are bytes
    (`"512Mi"`, `"4Gi"`, `"1G"`). A pair is (request, limit); the request counts.
    Raises `ValueError` or `TypeError` for anything else.
    """

    cpu: Amount | Pair | None = None
    memory: str | int | tuple[str | int, str | int] | None = None
    gpu: str | int | Device | None = None
    disk: str | None = None
    shm: str | None = None

    def __post_init__(self) -> None:
        _ = self.cores, self.memory_bytes, self.disk_bytes, size_of("shm", self.shm)
        if self.gpu is not None and not isinstance(self.gpu, str | int | Device):
            raise TypeError(f"`gpu` must be a string, a count or a device, not {self.gpu!r}")

    @property
    def cores(self) -> float:
        """Cores asked for; 0 when not said."""
        return _cores(_request("cpu", self.cpu))

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory asked for; 0 when not said."""
        return size_of("memory", _request("memory", self.memory))

    @property
    def disk_bytes(self) -> int:
        """Bytes of disk asked for; 0 when not said."""
        return size_of("disk", self.disk)

    @property
    def device(self) -> str:
        """The device request as "NAME:COUNT", or ""."""
        if self.gpu is None or self.gpu == 0:
            return ""
        if isinstance(self.gpu, int):
            return f"gpu:{self.gpu}"
        text = str(self.gpu)
        return text if ":" in text else f"{text}:1"


def GPU(device: str, quantity: int = 1, partition: str | None = None) -> Device:  # noqa: N802 - Flyte's name
    """GPUs of one kind."""
    return Device(f"{device}/{partition}" if partition else device, quantity)


def TPU(device: str, partition: str | None = None) -> Device:  # noqa: N802 - Flyte's name
    """TPUs of one kind."""
    return Device(f"{device}/{partition}" if partition else device)


def _request(name: str, value: object) -> Amount | None:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(f"`{name}` must be one amount or a pair (request, limit): {value!r}")
        value = value[0]
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    raise TypeError(f"`{name}` must be a number, a string or a pair of them, not {value!r}")


def _cores(value: Amount | None) -> float:
    if value is None:
        return 0.0
    if isinstance(value, str):
        match = _AMOUNT.match(value.strip())
        if not match or match.group(2) not in ("", "m"):
            raise ValueError(f'`cpu` must be cores, such as 2, 0.5 or "500m", not {value!r}')
        cores = float(match.group(1)) / (1000 if match.group(2) else 1)
    else:
        cores = float(value)
    if cores <= 0:
        raise ValueError(f"`cpu` must be more than 0, not {value!r}")
    return cores


def size_of(name: str, value: Amount | None) -> int:
    """An amount in bytes; 0 for None. Raises `ValueError` that calls it ``name``."""
    if value is None:
        return 0
    if isinstance(value, int):
        amount = value
    else:
        match = _AMOUNT.match(str(value).strip())
        if not match or match.group(2) not in _BYTES:
            raise ValueError(f'`{name}` must be bytes, such as "512Mi" or "4Gi", not {value!r}')
        amount = int(float(match.group(1)) * _BYTES[match.group(2)])
    if amount <= 0:
        raise ValueError(f"`{name}` must be more than 0, not {value!r}")
    return amount
