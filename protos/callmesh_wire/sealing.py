"""What is kept on disk sealed: AES-256-GCM with a key file that only this user reads."""

from __future__ import annotations

import os
from pathlib import Path

from callmesh_wire import diskfile

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
        key = _checked(diskfile.read_or_make(self._key_file, lambda: os.urandom(_KEY)))
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
            return _checked(self._key_file.read_bytes())
        except FileNotFoundError:
            raise UnusableKeyError from None


def _checked(key: bytes) -> bytes:
    if len(key) != _KEY:
        raise UnusableKeyError
    return key
