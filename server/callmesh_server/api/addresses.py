"""The addresses that the server hands out."""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_wire.names import AppName


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are found, on this server's ingress and on a node's loopback."""

    ingress_port: int

    @property
    def ingress(self) -> str:
        """Base URL of the mesh's own pages."""
        return f"http://localhost:{self.ingress_port}"

    def endpoint(self, mesh_port: int) -> str:
        """Base URL for code on a node."""
        return f"http://127.0.0.1:{mesh_port}"

    def url(self, name: AppName) -> str:
        """Base URL for browsers."""
        return f"http://{name.mesh_name}.localhost:{self.ingress_port}"

    def run(self, name: str) -> str:
        """A run's page."""
        return f"{self.ingress}/runs/{name}"
