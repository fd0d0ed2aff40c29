"""What a user is told about code of theirs that raised.

A traceback is cut to the user's frames: those of callmesh itself, of the
import machinery and of asyncio's runner say nothing about the mistake. Where
callmesh itself refuses what a file declares, a sentence replaces the traceback.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sysconfig
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
_OURS = (
    *(f"{Path(place).parent}/" for place in _PLACES[:3]),
    *(f"{Path(place).resolve().parent}/" for place in _PLACES[:3]),
)
_HIDDEN = (
    "<frozen ",
    *_OURS,
    *(f"{Path(place).parent}/" for place in _PLACES[3:]),
    *(f"{Path(place).resolve().parent}/" for place in _PLACES[3:]),
)
_MAX_MESSAGE = 64 * 1024
# Folders that bundles were unpacked into: the user's files go by their names in them.
_roots: list[str] = []


def shorten(root: str) -> None:
    """From now on have tracebacks name files under a folder relative to it."""
    folder = root.rstrip("/") + "/"
    if folder not in _roots:
        _roots.append(folder)


def user_traceback(error: BaseException, *, libraries: bool = True) -> str:
    """The error as Python prints it, causes included, without our frames.

    Without ``libraries`` it ends at the last frame that is no library's.
    """
    report = traceback.TracebackException.from_exception(error)
    _cut(report, set(), libraries=libraries)
    return "".join(report.format())


def complaint(error: BaseException) -> str:
    """Where in the user's file callmesh refused what it declares, and why, in a sentence.

    "" for an error that something else raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not (frames[-1].filename.startswith(_OURS) or _is_generated(frames[-1])):
        return ""
    theirs = [frame for frame in frames if not _is_hidden(frame)]
    if not theirs or not isinstance(error, ValueError | TypeError):
        return ""
    place = os.path.relpath(theirs[-1].filename)
    place = Path(place).name if place.startswith("..") else place
    return f"`{place}`, line {theirs[-1].lineno}: {message_of(error)}"


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
    """``str(error)``, also where that raises; with what to do about it where that is known."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__}: its __str__ raised>"
    return ": ".join(each for each in (text, hint_for(error)) if each)


def hint_for(error: BaseException) -> str:
    """What to do about a missing module, or a debugger without a terminal; else ""."""
    if type(error).__name__ == "BdbQuit":
        return (
            "the debugger was left, or has no terminal: `breakpoint()` is for `callmesh run "
            "--local` and `callmesh serve --local`"
        )
    if not isinstance(error, ModuleNotFoundError) or not os.environ.get("CALLMESH_ENVIRONMENT"):
        return ""
    package = (error.name or "").partition(".")[0]
    return (
        f"the environment of this image has no `{package}`; name it in the image "
        "(`with_pip_packages`), or ship it with `include` where it is code of yours"
    )


def _is_generated(frame: traceback.FrameSummary) -> bool:
    """A dataclass's own `__init__`, which has no source."""
    return frame.filename == "<string>" and frame.name == "__init__"


def _is_hidden(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_HIDDEN) or _is_generated(frame)


def _is_library(frame: traceback.FrameSummary) -> bool:
    stdlib = sysconfig.get_path("stdlib") + "/"
    return "/site-packages/" in frame.filename or frame.filename.startswith(stdlib)


def _cut(report: traceback.TracebackException, seen: set[int], *, libraries: bool) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    frames = [frame for frame in report.stack if not _is_hidden(frame)]
    if not libraries and not all(map(_is_library, frames)):
        while _is_library(frames[-1]):
            frames.pop()
    report.stack = traceback.StackSummary.from_list(frames)
    for frame in report.stack:
        for root in _roots:
            frame.filename = frame.filename.removeprefix(root)
    for other in (
        report.__cause__,
        report.__context__,
        *(getattr(report, "exceptions", None) or ()),
    ):
        if other is not None:
            _cut(other, seen, libraries=libraries)


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
