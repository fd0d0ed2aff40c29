"""Where content is: the mesh's blobs, a path of this machine, or a web address.

A location is `callmesh://<sha256>`, a path (also as `file://`), or `http(s)://`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from callmesh import _blobs, _places, _runtime, settings
from callmesh._sync import bridge
from callmesh_wire.errors import InvalidArgumentError, NotFoundError, UnavailableError
from callmesh_wire.limits import MAX_BLOB

SCHEME = "callmesh://"
# A web server that says nothing for so long is given up, seconds.
PATIENCE = 60.0
_PIECE = 1 << 20


async def put(path: Path) -> tuple[str, str, int]:
    """Store a file's content: its location, its SHA-256 and its size in bytes.

    Raises `InvalidArgumentError` for a file that is too large for the mesh.
    """
    if not _is_local():
        _check_size(path)
    digest, size = await asyncio.to_thread(measure, path)
    if _is_local():
        return str(await asyncio.to_thread(_keep, path, digest)), digest, size
    await bridge().arun(_blobs.upload_file(path, digest, size))
    return f"{SCHEME}{digest}", digest, size


async def fetch(location: str, target: Path) -> None:
    """Write the content of a location to ``target``, whole or not at all.

    Raises `NotFoundError`, `UnavailableError`, `InvalidArgumentError` for a
    location that nothing here can read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not made of the name, which may be as long as a name can be.
    draft = target.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        if location.startswith(SCHEME):
            await bridge().arun(_blobs.download_file(digest_of(location), draft))
        elif is_web(location):
            await asyncio.to_thread(_from_web, location, draft)
        else:
            await asyncio.to_thread(_copy, location, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


async def exists(location: str) -> bool:
    """There is content at a location."""
    if location.startswith(SCHEME):
        return await bridge().arun(_blobs.has(digest_of(location)))
    if is_web(location):
        return await asyncio.to_thread(_is_on_web, location)
    return path_of(location).exists()


def digest_of(location: str) -> str:
    """The SHA-256 of a location in the mesh."""
    return location.removeprefix(SCHEME)


def is_web(location: str) -> bool:
    """It is a web address."""
    return location.startswith(("http://", "https://"))


def path_of(location: str) -> Path:
    """A location of this machine as a path. Raises `InvalidArgumentError`."""
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    scheme, colon, _ = location.partition("://")
    if colon:
        raise InvalidArgumentError(
            f"`{location}` cannot be read: callmesh reads paths, `http://` and `https://`; read "
            f"`{scheme}://` with its own library in a task, and hand on the result"
        )
    return Path(location).expanduser()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder, deleted when the block ends."""
    with tempfile.TemporaryDirectory(prefix="callmesh-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_local() -> bool:
    return not _runtime.workload_socket() and settings.current().mode == settings.LOCAL


def _check_size(path: Path) -> None:
    """Before it is read: that takes a while."""
    size = path.stat().st_size
    if size > MAX_BLOB:
        raise InvalidArgumentError(
            f"`{path}` has {size / 1024**3:.1f} GiB, and the mesh keeps files of "
            f"{MAX_BLOB // 1024**3} GiB at most: leave it where the task can read it, and pass "
            "its path as text"
        )


def measure(path: Path) -> tuple[str, int]:
    """A file's SHA-256 and size."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _keep(path: Path, digest: str) -> Path:
    folder = _places.local_dir(os.environ) / "files"
    target = folder / digest
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{digest[:16]}.{os.urandom(8).hex()}.partial"
        try:
            shutil.copyfile(path, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return target


def _copy(location: str, target: Path) -> None:
    source = path_of(location)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file `{source}` on this machine") from None


def _from_web(address: str, target: Path) -> None:
    try:
        with (
            urllib.request.urlopen(address, timeout=PATIENCE) as answer,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, _PIECE)
    except urllib.error.HTTPError as problem:
        kind = NotFoundError if problem.code in (404, 410) else UnavailableError
        raise kind(f"`{address}` answered {problem.code} {problem.reason}") from None
    except OSError as problem:
        reason = getattr(problem, "reason", problem)
        raise UnavailableError(f"`{address}` cannot be read: {reason}") from None


def _is_on_web(address: str) -> bool:
    request = urllib.request.Request(address, method="HEAD")
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=PATIENCE):
        return True
    return False
