"""Whether a process may be forked after the user's module was imported.

A child shares what its parent has open: two processes that read one socket or
poll one event queue break each other, and a thread of the parent does not
exist in the child, whatever lock it held. So what an import may leave behind is
compared with what was there before. Threads of native pools that handle a fork
themselves are let through, by name or by the library that makes them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_EVENTS = {
    "anon_inode:[eventpoll]": "an event poll (an event loop or a selector)",
    "anon_inode:[eventfd]": "an event descriptor (eventfd)",
    "anon_inode:[io_uring]": "an io_uring queue",
    "anon_inode:inotify": "a file watch (inotify)",
    "anon_inode:[signalfd]": "a signal descriptor (signalfd)",
    "anon_inode:[timerfd]": "a timer (timerfd)",
}
_HARMLESS_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "shm/", "pts/")
# Their threads end before a fork and begin again after it, on both sides.
_FORK_SAFE_THREADS = ("jemalloc_bg_thd",)
_FORK_SAFE_POOLS = ("libopenblas", "libscipy_openblas", "libmkl_", "libiomp5", "libarrow")
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is open and what runs, at one moment."""

    descriptors: Mapping[int, str]
    threads: frozenset[int]

    @classmethod
    def take(cls) -> Baseline:
        """What is open and what runs now."""
        return cls(_descriptors(), frozenset(_threads()))


def obstacles(baseline: Baseline) -> list[str]:
    """What has come since that forbids a fork, each named; empty when there is nothing."""
    found = [*_new_descriptors(baseline), *_new_threads(baseline)]
    return found[:_MAX_NAMED] + (["and more"] if len(found) > _MAX_NAMED else [])


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the folder itself is one of them
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue  # the folder's own descriptor
    return found


def _threads() -> set[int]:
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def _new_descriptors(baseline: Baseline) -> Iterator[str]:
    for descriptor, target in sorted(_descriptors().items()):
        if baseline.descriptors.get(descriptor) == target:
            continue
        if target in _EVENTS:
            yield _EVENTS[target]
        elif target.startswith("socket:"):
            yield _socket(descriptor)
        elif _is_device(target):
            yield f"the device {target}"


def _is_device(target: str) -> bool:
    name = target.removeprefix("/dev/")
    return name != target and not name.startswith(_HARMLESS_DEVICES)


def _socket(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        family = {socket.AF_UNIX: "Unix", socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
        kind = family.get(socket.AddressFamily(copy.family), "other")
        try:
            peer = _address(copy.getpeername())
        except OSError:
            peer = ""
        own = _address(copy.getsockname())
    ends = f"{own} to {peer}" if own and peer else own or peer
    return f"a socket ({kind}{', ' + ends if ends else ''})"


def _address(name: object) -> str:
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _new_threads(baseline: Baseline) -> Iterator[str]:
    python: set[int] = set()
    known = {threading.get_ident()}
    for thread in threading.enumerate():
        if thread.ident is not None:
            known.add(thread.ident)
        if thread.native_id is not None:
            python.add(thread.native_id)
        if thread is not threading.main_thread() and thread.native_id not in baseline.threads:
            yield f"the thread `{thread.name}`"
    if sys._current_frames().keys() - known:
        yield "a thread without a name"
        return
    own, pools = _name(os.getpid()), _pools()
    for native in sorted(_threads() - baseline.threads - python):
        name = _name(native)
        # Without a name of its own it bears its creator's.
        if name and name not in _FORK_SAFE_THREADS and not (name == own and pools):
            yield f"the native thread `{name}`"


def _name(thread: int) -> str:
    """A thread's name; empty when it has ended."""
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
    except OSError:
        return ""


def _pools() -> bool:
    """Whether a library is loaded whose threads survive a fork."""
    maps = Path("/proc/self/maps").read_text()
    return any(library in maps for library in _FORK_SAFE_POOLS)
