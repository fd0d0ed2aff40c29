"""Secret values: sealed on disk with a key of their own, in memory in clear.

The name is the label of the seal, so that no row can be passed off as another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.sealing import NotSealedError, Seal, UnusableKeyError
from callmeshpb.v1 import common_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database


@dataclass(frozen=True, slots=True)
class SecretValues:
    """What a workload gets, and which of its secrets do not exist."""

    env: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()


NO_VALUES = SecretValues()


class Secrets:
    """Every secret of the mesh."""

    def __init__(self, key_file: Path, database: Database) -> None:
        self._key_file = key_file
        self._seal = Seal(key_file)
        self._database = database
        self._values: dict[tuple[str, str, str], bytes] = {}

    async def load(self) -> None:
        """Unseal what is stored. Raises `FailedPreconditionError` if it cannot be."""
        rows = await self._database.sealed_secrets()
        if rows:
            self._values = await asyncio.to_thread(self._unseal, rows)

    async def seal(self, project: str, domain: str, name: str, value: bytes) -> bytes:
        """The form in which a value is stored."""
        return await asyncio.to_thread(self._sealed, _label(project, domain, name), value)

    def put(self, project: str, domain: str, name: str, value: bytes) -> None:
        """Hand out a value from now on; the caller has stored it."""
        self._values[project, domain, name] = value

    def remove(self, project: str, domain: str, name: str) -> bool:
        """Hand out a value no more; False if there was none."""
        return self._values.pop((project, domain, name), None) is not None

    def has(self, project: str, domain: str, name: str) -> bool:
        """Whether the secret exists."""
        return (project, domain, name) in self._values

    def values(
        self, project: str, domain: str, refs: Iterable[common_pb2.SecretRef]
    ) -> SecretValues:
        """The values that a workload of this scope asks for."""
        env: dict[str, str] = {}
        files: dict[str, bytes] = {}
        missing: list[str] = []
        for ref in refs:
            value = self._values.get((project, domain, secret_name(ref)))
            if value is None:
                missing.append(secret_name(ref))
                continue
            if ref.mount:
                files[ref.mount] = value
            if not ref.env_var:
                continue
            if (text := _as_text(value)) is None:
                missing.append(f"{secret_name(ref)} (not text: mount it as a file)")
            else:
                env[ref.env_var] = text
        return SecretValues(env, files, tuple(missing)) if env or files or missing else NO_VALUES

    def _sealed(self, label: bytes, value: bytes) -> bytes:
        try:
            return self._seal.seal(label, value)
        except UnusableKeyError:
            raise self._no_key() from None

    def _unseal(
        self, rows: Iterable[tuple[str, str, str, bytes]]
    ) -> dict[tuple[str, str, str], bytes]:
        values = {}
        for project, domain, name, sealed in rows:
            try:
                value = self._seal.unseal(_label(project, domain, name), sealed)
            except UnusableKeyError:
                raise self._no_key() from None
            except NotSealedError:
                raise FailedPreconditionError(
                    f"secret `{name}` of {project}/{domain} cannot be read with the key "
                    f"`{self._key_file}`: put back the key file that it was sealed with"
                ) from None
            values[project, domain, name] = value
        return values

    def _no_key(self) -> FailedPreconditionError:
        return FailedPreconditionError(
            f"the key `{self._key_file}` of the stored secrets is missing or damaged: "
            "put it back, or delete the secrets and create them again"
        )


def secret_name(ref: common_pb2.SecretRef) -> str:
    """The stored name of a reference: its key, or `<group>.<key>`."""
    return f"{ref.group}.{ref.key}" if ref.group else ref.key


def _as_text(value: bytes) -> str | None:
    """The value as an environment variable can carry it, or None."""
    try:
        return None if b"\0" in value else value.decode()
    except UnicodeDecodeError:
        return None


def _label(project: str, domain: str, name: str) -> bytes:
    return f"{project}/{domain}/{name}".encode()
