"""The mesh's join token and the certificate in it; both are made where there is no token."""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path

from callmesh_wire import jointoken
from callmesh_wire.diskfile import write_whole
from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.jointoken import SERVER_NAME, JoinToken

VALID = datetime.timedelta(days=3650)


def load(token_file: Path, key_file: Path) -> tuple[JoinToken, bytes]:
    """The token, and the private key (PEM) of its certificate.

    A token that was deleted is replaced by another one. Raises
    `FailedPreconditionError` for a token without its key.
    """
    if not token_file.exists():
        _make(token_file, key_file)
    token = jointoken.read(token_file)
    try:
        return token, key_file.read_bytes()
    except FileNotFoundError:
        raise FailedPreconditionError(
            f"the key `{key_file}` of the certificate in `{token_file}` is missing: delete that "
            "file, start again, and give every node the new one"
        ) from None


def _make(token_file: Path, key_file: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Nodes whose clocks are behind are told so by the server, not by TLS.
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_whole(key_file, private, survives_power_loss=True)
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    token = JoinToken(secrets.token_urlsafe(32), pem)
    write_whole(token_file, token.text().encode(), survives_power_loss=True)
