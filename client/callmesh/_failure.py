"""What a user is told about code of theirs that raised.

A traceback is cut to the user's frames: those of callmesh itself, of the
import machinery and of asyncio's runner say nothing about the mistake.
"""

from __future__ import annotations

import asyncio
import importlib
import traceback
from pathlib import Path

from callmesh_wire import names
from callmeshpb.v1 import common_pb2

_PLACES = (
    __file__,
    names.__file__,
    common_pb2.__file__,
    asyncio.__file__,
    importlib.__file__,
)
# In a built environment callmesh is a link: its files go by both names.
_HIDDEN = (
    "<frozen ",
    *(f"{Path(place).parent}/" for place in _PLACES),
    *(f"{Path(place).resolve().parent}/" for place in _PLACES),
)
_MAX_MESSAGE = 64 * 1024
# Folders that bundles were unpacked into: the user's files go by their names in them.
_roots: list[str] = []


def shorten(root: str) -> None:
    """From now on have tracebacks name files under a folder relative to it."""
    folder = root.rstrip("/") + "/"
    if folder not in _roots:
        _roots.append(folder)


def user_traceback(error: BaseException) -> str:
    """The error as Python prints it, causes included, without our frames."""
    report = traceback.TracebackException.from_exception(error)
    _cut(report, set())
    return "".join(report.format())


def failure_of(error: BaseException) -> common_pb2.Failure:
    """The error as it travels; with the exception itself where it can be pickled."""
    return common_pb2.Failure(
        type=type(error).__name__,
        message=message_of(error)[:_MAX_MESSAGE],
        traceback=user_traceback(error),
        kind=common_pb2.FAILURE_KIND_USER,
        non_recoverable=_is_non_recoverable(error),
        exception_pickle=_pickled(error),
    )


def message_of(error: BaseException) -> str:
    """``str(error)``, also where that raises."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__}: its __str__ raised>"


def _cut(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack = traceback.StackSummary.from_list(
        [frame for frame in report.stack if not frame.filename.startswith(_HIDDEN)]
    )
    for frame in report.stack:
        for root in _roots:
            frame.filename = frame.filename.removeprefix(root)
    for other in (
        report.__cause__,
        report.__context__,
        *(getattr(report, "exceptions", None) or ()),
    ):
        if other is not None:
            _cut(other, seen)


def _is_non_recoverable(error: BaseException) -> bool:
    from callmesh.errors import NonRecoverableError

    return isinstance(error, NonRecoverableError)


def _pickled(error: BaseException) -> bytes:
    """The pickled exception, or nothing where it cannot be had back."""
    import pickle

    import cloudpickle

    try:
        data = bytes(cloudpickle.dumps(error))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - a user's __reduce__ or __init__ may raise anything
        return b""
    return data if len(data) <= 1 << 20 else b""
