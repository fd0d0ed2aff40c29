"""What a node remembers of its server: the desired set, with its secrets, and the mesh view.

Sealed with a key of the node's own, and written behind: the newest of each, in
a thread, forced to disk. An agent that starts while the server is away goes on
from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from callmesh_agent.config import AgentSettings
from callmesh_wire.diskfile import write_whole
from callmesh_wire.sealing import NotSealedError, Seal, UnusableKeyError
from callmeshpb.v1 import node_pb2

# Seconds between two writes, and after one that failed.
PAUSE = 0.1
RETRY = 2.0
ASIDE = ".aside"
Kind = TypeVar("Kind", bound=Message)
log = logging.getLogger("callmesh.agent")


class Kept:
    """The two files, and what waits to be written into them."""

    def __init__(self, settings: AgentSettings, on_problem: Callable[[str], None]) -> None:
        """``on_problem`` hears why they cannot be written, "" when that is over."""
        self._settings = settings
        self._on_problem = on_problem
        self._seal = Seal(settings.sealing_key_file)
        self._waiting: dict[Path, Message] = {}
        self._wake = asyncio.Event()
        self._last_problem = ""

    def desired(self) -> node_pb2.DesiredSet | None:
        """What the server wanted last of this node; None: that is not known."""
        return self._read(self._settings.desired_file, node_pb2.DesiredSet)

    def view(self) -> node_pb2.MeshView:
        """The last mesh view; an empty one where none is known."""
        return self._read(self._settings.view_file, node_pb2.MeshView) or node_pb2.MeshView()

    def put_desired(self, desired: node_pb2.DesiredSet) -> None:
        """Keep a desired set from now on."""
        self._put(self._settings.desired_file, desired)

    def put_view(self, view: node_pb2.MeshView) -> None:
        """Keep a mesh view from now on."""
        self._put(self._settings.view_file, view)

    async def run(self) -> None:
        """Write what is put, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Read on the loop, where alone it may change.
            contents = {path: each.SerializeToString() for path, each in self._waiting.items()}
            writing, self._waiting = self._waiting, {}
            try:
                await asyncio.to_thread(self._write, contents)
            except (OSError, UnusableKeyError) as problem:
                self._waiting = writing | self._waiting
                self._wake.set()
                self._say(
                    f"what this node shall run cannot be kept on its disk: {_reason(problem)}"
                )
                await asyncio.sleep(RETRY)
            else:
                self._say("")
                await asyncio.sleep(PAUSE)

    def flush(self) -> None:
        """Write what waits, at the end of the agent."""
        contents = {path: each.SerializeToString() for path, each in self._waiting.items()}
        try:
            self._write(contents)
        except (OSError, UnusableKeyError) as problem:
            log.warning("what this node shall run is not kept: %s", _reason(problem))

    def _put(self, path: Path, message: Message) -> None:
        self._waiting[path] = message
        self._wake.set()

    def _write(self, contents: dict[Path, bytes]) -> None:
        for path, content in contents.items():
            sealed = self._seal.seal(self._label(path), content)
            write_whole(path, sealed, survives_power_loss=True)

    def _read(self, path: Path, kind: type[Kind]) -> Kind | None:
        try:
            return kind.FromString(self._seal.unseal(self._label(path), path.read_bytes()))
        except FileNotFoundError:
            return None
        except UnusableKeyError:
            _set_aside(path, "the key that it is sealed with is missing or damaged")
            if self._settings.sealing_key_file.exists():
                _set_aside(self._settings.sealing_key_file, "it is no key")
        except NotSealedError:
            _set_aside(path, "it is damaged, or of another node or mesh")
        except (DecodeError, OSError) as problem:
            _set_aside(path, str(problem))
        return None

    def _label(self, path: Path) -> bytes:
        return f"{path.name} of {self._settings.node} in {self._settings.mesh}".encode()

    def _say(self, problem: str) -> None:
        if problem != self._last_problem:
            self._last_problem = problem
            self._on_problem(problem)
            if problem:
                log.warning("%s", problem)


def _reason(problem: Exception) -> str:
    if isinstance(problem, OSError):
        where = f" (`{problem.filename}`)" if problem.filename else ""
        return f"{problem.strerror}{where}; make room, or give the folder to this user"
    return "its key is damaged: delete the file `sealing.key`"


def _set_aside(path: Path, why: str) -> None:
    """Move away a file that cannot be used, for whoever wants to look at it; say so in the log."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.replace(aside)
    except OSError as problem:
        log.warning("`%s` is not used: %s; it could not be set aside: %s", path, why, problem)
    else:
        log.warning("`%s` is not used: %s; it is kept as `%s`", path, why, aside.name)
