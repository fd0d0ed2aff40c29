"""Code on disk: bundles, fetched once and unpacked where every process shares them.

A bundle's folder is named by its digest and appears whole or not at all. A
lock file keeps two agents from unpacking the same one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from callmesh_agent import shelf
from callmesh_agent.blobs import Blobs
from callmesh_agent.shelf import Entry
from callmesh_wire.errors import DataLossError, ExhaustedError, FailedPreconditionError
from callmeshpb.v1 import common_pb2

# Of one bundle, unpacked.
MAX_BYTES = 2 * 1024**3
MAX_FILES = 100_000


class Workspace:
    """The bundles folder of one node."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self._folder = folder
        self._blobs = blobs
        # Of bundles, which never change.
        self._sizes: dict[str, int] = {}

    def directory(self, code: common_pb2.Code) -> str:
        """Where unpacked code is; "" for none."""
        return str(self._folder / code.bundle) if code.bundle else ""

    async def unpack(self, digest: str) -> None:
        """Have a bundle on disk. Raises `CallmeshError` or OSError."""
        target = self._folder / digest
        if target.is_dir():
            os.utime(target)
            return
        with self._draft(digest) as draft:
            archive = draft / "archive"
            await self._blobs.fetch(digest, archive)
            await asyncio.to_thread(_unpack, archive, draft / "code", digest)
            archive.unlink()
            with _locked(self._folder / f".{digest}.lock"):
                if not target.is_dir():
                    (draft / "code").rename(target)

    async def place(
        self, ref: common_pb2.BlobRef, name: str, mount: str, folder: Path, file_name: str = ""
    ) -> str:
        """Put a parameter's file or folder where the app finds it; that path.

        ``mount`` names the place; empty: under ``folder``. A mount that ends in
        `/`, or is a folder already, keeps the file's name, ``file_name``.
        """
        own = file_name or name
        target = Path(mount) if mount else folder / name
        if ref.media != "bundle":
            if not mount:
                target = target / own if file_name else target
            elif mount.endswith("/") or target.is_dir():
                target = target / own
        with self._draft(ref.digest) as draft:
            archive = draft / "archive"
            await self._blobs.place(ref.digest, archive)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if ref.media == "bundle":
                    await asyncio.to_thread(_unpack, archive, target, ref.digest)
                else:
                    await asyncio.to_thread(shutil.copyfile, archive, target)
            except OSError as problem:
                raise FailedPreconditionError(
                    f"parameter `{name}` cannot be put at `{target}`: {problem.strerror}; "
                    "choose a `mount` that this user may write"
                ) from None
        return str(target)

    def entries(self) -> dict[str, Entry]:
        """Each bundle that is unpacked."""
        found = {}
        for folder in self._folder.glob("[!.]*"):
            with contextlib.suppress(OSError):
                used_at = folder.stat().st_mtime
                if folder.name not in self._sizes:
                    self._sizes[folder.name] = shelf.size_of(folder)
                found[folder.name] = Entry(self._sizes[folder.name], used_at)
        return found

    def touch(self, in_use: Collection[str]) -> None:
        """Note that bundles are being used."""
        for digest in in_use:
            with contextlib.suppress(OSError):
                os.utime(self._folder / digest)

    @contextlib.contextmanager
    def _draft(self, digest: str) -> Iterator[Path]:
        if not digest.isalnum():
            raise DataLossError(f"`{digest}` is not a digest")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}.", dir=self._folder))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _unpack(archive: Path, target: Path, digest: str) -> None:
    """Unpack a tar of files and folders, which is all that a bundle has, into ``target``.

    Not by `extractall`: its safe filter is missing from Python 3.11.2, which
    Debian 12 has.
    """
    target.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with tarfile.open(archive, "r:*") as tar:
            for count, member in enumerate(tar, 1):
                size += member.size
                if size > MAX_BYTES or count > MAX_FILES:
                    raise ExhaustedError(
                        f"bundle `{digest[:12]}` is over {MAX_BYTES >> 30} GiB or "
                        f"{MAX_FILES} files unpacked: leave data out of the code"
                    )
                _put(tar, member, target)
    except (tarfile.TarError, EOFError, zlib.error) as problem:
        raise DataLossError(f"bundle `{digest[:12]}` cannot be unpacked: {problem}") from None


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write one member, if it is a file or a folder that stays inside ``target``."""
    path = target / member.name
    if not path.resolve().is_relative_to(target.resolve()):
        raise tarfile.TarError(f"`{member.name}` leads out of it")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise tarfile.TarError(f"`{member.name}` is neither a file nor a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
