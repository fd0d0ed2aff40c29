"""The server's settings: one frozen value, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from callmesh_server.core.collection import Caps


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything that a server is told at its start.

    ``api_port`` 0 takes any free port; `Server.api_port` says which it became.
    ``lease_seconds`` is how long a silent node counts as living: shorter finds
    a dead node sooner, and takes a stopped agent for a dead one sooner.
    """

    # The mesh's state folder; the server's part is `server/` below it.
    state_dir: Path
    # Unix socket for local callers, made with mode 0600.
    api_socket: Path
    # Holds the token that TCP callers must send.
    token_file: Path
    api_port: int = 7433
    api_host: str = "127.0.0.1"
    # Where agents connect, by TLS and with the join token; an empty host: nowhere.
    node_host: str = ""
    node_port: int = 7434
    # Port of the ingress, for the URLs that the server hands out.
    ingress_port: int = 7480
    # Unix socket of the pages' process; None: there are none.
    pages_socket: Path | None = None
    lease_seconds: float = 15.0
    version: str = "0.1.0"
    # How much of the record is kept.
    caps: Caps = field(default_factory=Caps)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.state_dir / "server" / "mesh.db"

    @property
    def blobs(self) -> Path:
        """The folder of the content-addressed blobs."""
        return self.state_dir / "server" / "blobs"

    @property
    def secret_key(self) -> Path:
        """The key that secrets are sealed with."""
        return self.state_dir / "server" / "secret.key"

    @property
    def join_token_file(self) -> Path:
        """What a machine needs to join."""
        return self.state_dir / "join.token"

    @property
    def tls_key(self) -> Path:
        """The private key of the certificate in the join token."""
        return self.state_dir / "server" / "tls.key"

    @property
    def ingress_url(self) -> str:
        """Base URL of the mesh's own pages."""
        return f"http://localhost:{self.ingress_port}"
