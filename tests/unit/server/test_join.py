"""The join token and its certificate, as the server makes and keeps them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from callmesh_server import join
from callmesh_wire.errors import FailedPreconditionError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "join.token", tmp_path / "tls.key"


def test_both_are_made_once_and_are_private(files: tuple[Path, Path]) -> None:
    made = join.load(*files)
    assert join.load(*files) == made
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_key_is_the_certificates(files: tuple[Path, Path]) -> None:
    token, key = join.load(*files)
    certificate = x509.load_pem_x509_certificate(token.certificate.encode())
    private = load_pem_private_key(key, None)
    assert private.public_key() == certificate.public_key()


def test_a_deleted_token_is_replaced_with_its_certificate(files: tuple[Path, Path]) -> None:
    before, old_key = join.load(*files)
    files[0].unlink()
    after, new_key = join.load(*files)
    assert after.secret != before.secret and after.certificate != before.certificate
    assert new_key != old_key


def test_a_token_without_its_key_is_told(files: tuple[Path, Path]) -> None:
    join.load(*files)
    files[1].unlink()
    with pytest.raises(FailedPreconditionError, match="give every node the new one"):
        join.load(*files)
