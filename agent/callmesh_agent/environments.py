"""Virtual environments on disk: built once by `uv`, shared by all that need the same.

An environment is built in the folder that it stays in, since its scripts name
it. `meta.json` is written last: a folder without one is what a crash left, and
is built anew. A lock file, which `uv` holds too, keeps two builds apart, also
where the agent was killed and `uv` lives on.

callmesh itself is linked into each environment from where this agent runs:
the same code, however it was installed, and no build after an upgrade.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import IO

from callmesh_agent import pythons, shelf
from callmesh_agent.shelf import Entry
from callmesh_wire import uv
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import common_pb2

META = "meta.json"
LINKED = ("callmesh", "callmesh_wire", "callmeshpb")
# A build that takes longer is given up.
BUILD_SECONDS = 1800.0
LOOK = 0.1
KEPT_OUTPUT = 256 * 1024
_STEP = re.compile(r"^ *(Downloading|Building) (.+)", re.MULTILINE)
Tell = Callable[[str], None]


class Environments:
    """The environments folder of one node."""

    def __init__(self, folder: Path, python: str, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._python = python
        self._environ = environ

    def python(self, key: str) -> str:
        """The interpreter of an environment; of "", the node's own."""
        return str(self._folder / key / "bin" / "python") if key else self._python

    def folder(self, key: str) -> Path:
        """Where an environment is."""
        return self._folder / key

    async def build(self, key: str, image: common_pb2.Image, tell: Tell) -> None:
        """Have an environment on disk. ``tell`` hears how far it is.

        Raises `FailedPreconditionError` with the reason and the next step.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._folder / key
        try:
            async with asyncio.timeout(BUILD_SECONDS), self._locked(key, tell) as lock:
                if _is_ready(target):
                    os.utime(target / META)
                    return
                await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
                try:
                    await self._make(target, image, lock, tell)
                except BaseException:
                    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
                    raise
        except TimeoutError:
            raise FailedPreconditionError(
                f"the environment was not built within {BUILD_SECONDS / 60:g} minutes: check that "
                "this node reaches the package index, and deploy again"
            ) from None

    async def _make(self, target: Path, image: common_pb2.Image, lock: int, tell: Tell) -> None:
        found = pythons.installed(self._environ)
        python = found.get(image.lock_python)
        if python is None:
            raise FailedPreconditionError(
                f"this node has no Python {image.lock_python}, only {', '.join(found)}: install "
                "it, or ask for one of those with `python_version`"
            )
        tell(f"{len(image.lock)} packages on Python {image.lock_python}")
        await self._uv(["venv", "--python", python, str(target)], lock, tell)
        pinned = target / "lock.txt"
        pinned.write_text("\n".join(image.lock))
        arguments = ["pip", "sync", str(pinned), "--python", str(target / "bin" / "python")]
        arguments += ["--link-mode", "hardlink", "--compile-bytecode", *image.index_options]
        await self._uv(arguments, lock, tell)
        await asyncio.to_thread(_link_callmesh, target)
        size = await asyncio.to_thread(shelf.size_of, target)
        about = {"python": image.lock_python, "packages": list(image.lock), "bytes": size}
        draft = target / f".{META}"
        draft.write_text(json.dumps(about, indent=1))
        draft.rename(target / META)

    async def _uv(self, arguments: list[str], lock: int, tell: Tell) -> None:
        program = uv.find()
        if program is None:
            raise FailedPreconditionError(
                f"this node has no `uv`, which builds environments: `{self._python} -m pip "
                "install uv`"
            )
        said = await _run([program, *arguments], self._folder, self._environ, lock, tell)
        if said is not None:
            raise FailedPreconditionError(
                f"the environment cannot be built: {uv.reason(said)}; mend that, or ask for other "
                "packages"
            )

    @contextlib.asynccontextmanager
    async def _locked(self, key: str, tell: Tell) -> AsyncIterator[int]:
        while (descriptor := _try_lock(self._lock_of(key))) is None:
            tell("waits for a build that is under way")
            await asyncio.sleep(LOOK)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def entries(self) -> dict[str, Entry]:
        """Each environment that is ready."""
        found = {}
        for meta in self._folder.glob(f"[!.]*/{META}"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                size = int(json.loads(meta.read_text())["bytes"])
                found[meta.parent.name] = Entry(size, meta.stat().st_mtime)
        return found

    def halves(self) -> list[str]:
        """Environments that nobody builds and that were not built to their end."""
        found = []
        for target in self._folder.glob("[!.]*"):
            if not (target / META).exists():
                lock = _try_lock(self._lock_of(target.name))
                if lock is not None:
                    os.close(lock)
                    found.append(target.name)
        return found

    def remove_locks(self) -> None:
        """Remove the lock files of environments that are gone."""
        for path in self._folder.glob(".*.lock"):
            target = self._folder / path.name[1:].removesuffix(".lock")
            lock = None if target.exists() else _try_lock(path)
            if lock is not None:
                if not target.exists():
                    path.unlink()
                os.close(lock)

    def _lock_of(self, key: str) -> Path:
        return self._folder / f".{key}.lock"

    def touch(self, in_use: Collection[str]) -> None:
        """Note that environments are being used."""
        for key in in_use:
            with contextlib.suppress(OSError):
                os.utime(self._folder / key / META)


def installation() -> str:
    """The platform, and where callmesh itself is: part of every environment's key."""
    places = [str(folder) for name in LINKED for folder in _folders(name)]
    libc = "-".join(platform.libc_ver())
    return "|".join((sys.platform, platform.machine(), libc, *places))


def _folders(package: str) -> list[str]:
    found = util.find_spec(package)
    return list(found.submodule_search_locations or ()) if found else []


def _link_callmesh(target: Path) -> None:
    (packages,) = target.glob("lib/python3.*/site-packages")
    for name in LINKED:
        for folder in _folders(name)[:1]:
            (packages / name).symlink_to(folder)
    about = metadata.distribution("callmesh")
    described = packages / f"callmesh-{about.version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(about.read_text("METADATA") or "")
    (described / "INSTALLER").write_text("callmesh\n")


def _is_ready(target: Path) -> bool:
    """It was built to its end, and its interpreter is still there."""
    return (target / META).is_file() and (target / "bin" / "python").exists()


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock; None where somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A file that was removed before it was locked keeps nobody apart.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


async def _run(
    command: list[str], folder: Path, environ: Mapping[str, str], lock: int, tell: Tell
) -> str | None:
    """Run a program that holds the lock. What it wrote where it failed, None where it did not.

    Not by the loop's own subprocesses: they fork, and gRPC's threads make that
    child crash at times. `subprocess` does not run fork handlers.
    """
    with tempfile.TemporaryFile() as output:
        process = _started(command, folder, environ, lock, output)
        try:
            told = 0
            while process.poll() is None:
                await asyncio.sleep(LOOK)
                steps = _STEP.findall(_written(output))
                for verb, what in steps[told:]:
                    tell(f"{verb.lower()} {what}")
                told = len(steps)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.to_thread(process.wait)
        if process.returncode < 0:
            return f"`uv` was ended by signal {-process.returncode}"
        return _written(output) if process.returncode else None


def _started(
    command: list[str], folder: Path, environ: Mapping[str, str], lock: int, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=output,
        cwd=folder,
        env={**environ, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"},
        pass_fds=(lock,),
        start_new_session=True,
    )


def _written(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size
    start = max(0, size - KEPT_OUTPUT)
    return os.pread(output.fileno(), KEPT_OUTPUT, start).decode(errors="replace")
