"""What is kept on disk sealed: AES-256-GCM with a key file that only this user reads."""

from __future__ import annotations

import os
from pathlib import Path

_NONCE = 12
_KEY = 32


class UnusableKeyError(Exception):
    """The key file is missing or damaged."""


class NotSealedError(Exception):
    """It was not sealed with this key and under this label, or it is damaged."""


class Seal:
    """One key. Needs the package `cryptography`, which is imported at the first use."""

    def __init__(self, key_file: Path) -> None:
        """The file is made when something is sealed first, mode 0600."""
        self._key_file = key_file

    def seal(self, label: bytes, value: bytes) -> bytes:
        """The form in which a value is stored. Raises `UnusableKeyError` or OSError.

        The label is proved too, so that no value can be passed off as another.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        key = self._key() if self._key_file.exists() else self._make_key()
        return nonce + AESGCM(key).encrypt(nonce, value, label)

    def unseal(self, label: bytes, sealed: bytes) -> bytes:
        """The value. Raises `UnusableKeyError`, `NotSealedError` or OSError."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key()).decrypt(sealed[:_NONCE], sealed[_NONCE:], label)
        except (InvalidTag, ValueError):
            raise NotSealedError from None

    def _key(self) -> bytes:
        try:
            key = self._key_file.read_bytes()
        except FileNotFoundError:
            raise UnusableKeyError from None
        if len(key) != _KEY:
            raise UnusableKeyError
        return key

    def _make_key(self) -> bytes:
        key = os.urandom(_KEY)
        self._key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._key_file.with_name(f".{self._key_file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                file.write(key)
                file.flush()
                os.fsync(descriptor)
            # Whole or not there; one that somebody else has made meanwhile stays.
            os.link(draft, self._key_file)
        finally:
            draft.unlink(missing_ok=True)
        return key
