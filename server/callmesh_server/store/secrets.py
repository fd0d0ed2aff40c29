"""Secret values: sealed on disk with a key of their own, in memory in clear.

AES-256-GCM; the name is authenticated too, so that no row can be passed off as
another's. The key file is made at the first secret, mode 0600.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import common_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

_NONCE = 12
_KEY = 32


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
        self._database = database
        self._values: dict[tuple[str, str, str], bytes] = {}

    async def load(self) -> None:
        """Unseal what is stored. Raises `FailedPreconditionError` if it cannot be."""
        rows = await self._database.sealed_secrets()
        if rows:
            self._values = await asyncio.to_thread(self._unseal, rows)

    async def seal(self, project: str, domain: str, name: str, value: bytes) -> bytes:
        """The form in which a value is stored."""
        return await asyncio.to_thread(self._seal, _label(project, domain, name), value)

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

    def _seal(self, label: bytes, value: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._key(make=True)).encrypt(nonce, value, label)

    def _unseal(
        self, rows: Iterable[tuple[str, str, str, bytes]]
    ) -> dict[tuple[str, str, str], bytes]:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        box = AESGCM(self._key(make=False))
        values = {}
        for project, domain, name, sealed in rows:
            try:
                values[project, domain, name] = box.decrypt(
                    sealed[:_NONCE], sealed[_NONCE:], _label(project, domain, name)
                )
            except InvalidTag:
                raise FailedPreconditionError(
                    f"secret `{name}` of {project}/{domain} cannot be read with the key "
                    f"`{self._key_file}`: put back the key file that it was sealed with"
                ) from None
        return values

    def _key(self, *, make: bool) -> bytes:
        if self._key_file.exists():
            key = self._key_file.read_bytes()
            if len(key) == _KEY:
                return key
        elif make:
            return self._make_key()
        raise FailedPreconditionError(
            f"the key `{self._key_file}` of the stored secrets is missing or damaged: "
            "put it back, or delete the secrets and create them again"
        )

    def _make_key(self) -> bytes:
        key = os.urandom(_KEY)
        self._key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        descriptor = os.open(self._key_file, flags, 0o600)
        try:
            os.write(descriptor, key)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return key


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
