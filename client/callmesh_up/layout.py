"""Where a mesh keeps its files: the state folder and the runtime folder.

The state folder outlives the mesh. The runtime folder holds the Unix sockets
of a running one and has a short path, because the kernel ends the path of a
Unix socket at 107 bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

MAX_SOCKET_PATH = 107
LONGEST_SOCKET = "envoy-admin.sock"
PROBE = ".writable"
# Bytes that must be free for a start.
LEAST_ROOM = 1 << 20
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR)


class LayoutProblem(Exception):
    """A folder that cannot be used. ``str()`` is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one mesh; every path is derived from these two."""

    state: Path
    runtime: Path

    @property
    def lock(self) -> Path:
        """Held by the running `callmesh up`."""
        return self.state / "up.lock"

    @property
    def record(self) -> Path:
        """What runs: process id, ports, version (JSON)."""
        return self.state / "up.json"

    @property
    def log(self) -> Path:
        """Output of a detached `callmesh up`."""
        return self.state / "up.log"

    @property
    def token(self) -> Path:
        """The API's token, mode 0600."""
        return self.state / "token"

    @property
    def join_token(self) -> Path:
        """What a machine needs to join, mode 0600."""
        return self.state / "join.token"

    @property
    def server(self) -> Path:
        """The server's store, blobs and secret key."""
        return self.state / "server"

    @property
    def agent(self) -> Path:
        """The agent's bundles, logs, records and last view."""
        return self.state / "agent"

    @property
    def local_mode(self) -> Path:
        """What runs without a mesh have kept: `files` and `cache`."""
        return self.state / "local-mode"

    @property
    def store(self) -> Path:
        """The server's store."""
        return self.server / "mesh.db"

    @property
    def identity(self) -> Path:
        """What a node proves its name with."""
        return self.agent / "identity"

    def has_mesh(self) -> bool:
        """A mesh, or a part of one, has been started on the state folder."""
        marks = (self.token, self.record, self.lock, self.store, self.identity)
        return any(each.exists() for each in marks)

    def files(self) -> list[Path]:
        """A mesh's files right in the state folder, those too that are being written."""
        files = (self.token, self.join_token, self.record, self.lock, self.log)
        drafts = (self.state.glob(f".{each.name}.*draft") for each in files)
        return [*files, *chain.from_iterable(drafts)]

    def strangers(self) -> list[str]:
        """What is in the state folder and is not a mesh's, by name."""
        folders = (self.server, self.agent, self.local_mode)
        names = {each.name for each in (*self.files(), *folders)} | {PROBE}
        try:
            return sorted(each.name for each in self.state.iterdir() if each.name not in names)
        except OSError:
            return []

    @property
    def api_socket(self) -> Path:
        """gRPC for this user, without a token."""
        return self.runtime / "api.sock"

    @property
    def supervisor_socket(self) -> Path:
        """The agent's line to the supervisor."""
        return self.runtime / "supervisor.sock"

    @property
    def web_socket(self) -> Path:
        """The pages, for the ingress."""
        return self.runtime / "web.sock"


def default_state(environ: Mapping[str, str]) -> Path:
    """The state folder when none is named on the command line.

    ``$CALLMESH_STATE_DIR``, else ``$XDG_STATE_HOME/callmesh/default``.
    """
    if named := environ.get("CALLMESH_STATE_DIR"):
        return Path(named)
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "callmesh" / "default"


def find(state: Path, environ: Mapping[str, str]) -> Layout:
    """The layout that belongs to a state folder. Touches nothing on disk."""
    state = Path(os.path.abspath(state.expanduser()))  # noqa: PTH100 - links stay as typed
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:8]
    session = environ.get("XDG_RUNTIME_DIR", "")
    base = (
        Path(session) / "callmesh"
        if session and Path(session).is_dir()
        else Path(tempfile.gettempdir()) / f"callmesh-{os.getuid()}"
    )
    return Layout(state=state, runtime=base / digest)


def prepare(layout: Layout) -> None:
    """Make both folders, private to this user. Raises `LayoutProblem`."""
    if len(bytes(layout.runtime / LONGEST_SOCKET)) > MAX_SOCKET_PATH:
        raise LayoutProblem(
            f"the runtime folder `{layout.runtime}` is too long for Unix sockets: "
            "set XDG_RUNTIME_DIR to a shorter path"
        )
    strangers = layout.strangers()
    if strangers and not layout.has_mesh():
        raise LayoutProblem(
            f"`{layout.state}` holds other things than a mesh's state, such as `{strangers[0]}`: "
            "name an empty folder, or one that is not there yet, with --state-dir"
        )
    try:
        for folder in (layout.state, layout.server, layout.agent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (layout.runtime.parent, layout.runtime):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_private(folder)
        probe = layout.state / PROBE
        try:
            probe.write_bytes(bytes(LEAST_ROOM))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as problem:
        raise LayoutProblem(unusable(layout, problem)) from None


def unusable(layout: Layout, problem: OSError) -> str:
    """A sentence about a state folder that the system does not let us use."""
    where = f" (`{problem.filename}`)" if problem.filename else ""
    remedy = {
        errno.ENOSPC: "make room, or ",
        errno.EACCES: "give it and what is in it to this user, or ",
    }.get(problem.errno or 0, "")
    return (
        f"cannot use the state folder `{layout.state}`: {problem.strerror}{where}; "
        f"{remedy}name another with --state-dir"
    )


def is_of_state(layout: Layout, problem: OSError) -> bool:
    """The system refused a file of the state folder: nobody's mistake in the code."""
    return problem.errno in _REFUSED and str(problem.filename or "").startswith(str(layout.state))


def _require_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LayoutProblem(f"`{folder}` is not a folder of this user: remove it and try again")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
