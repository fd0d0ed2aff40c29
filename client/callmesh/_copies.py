"""Folders for copies that nobody has named; an attempt's are deleted when it has ended."""

from __future__ import annotations

from pathlib import Path

from callmesh import _runtime

_of_attempt: list[str] = []


def folder() -> Path:
    """A new folder; outside the mesh's runs it is left to whoever asked."""
    import tempfile

    made = tempfile.mkdtemp(prefix="callmesh-")
    attempt = _runtime.current()
    if attempt is not None and attempt.mode == "remote":
        _of_attempt.append(made)
    return Path(made)


def delete() -> None:
    """The attempt of this process has ended: delete what it copied."""
    if not _of_attempt:
        return
    import shutil

    while _of_attempt:
        shutil.rmtree(_of_attempt.pop(), ignore_errors=True)
