"""What the driver shall do, in the imperative. Output of `step`, performed in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callmesh_agent.core.events import Key
from callmeshpb.v1 import common_pb2, node_pb2


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """Where an instance of this node is called; ``ready``: it takes new calls of this node."""

    address: str
    port: int
    ready: bool
    # Where other nodes call it, on the node's address; 0: they cannot.
    inbound_port: int = 0
    mesh_name: str = ""
    speaks_grpc: bool = False
    # It takes new calls of other nodes.
    open: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell Envoy, before anything else: this node's instances that live, by id."""

    rotation: Mapping[str, LocalEndpoint]


@dataclass(frozen=True, slots=True)
class KeepDesired:
    """Have it on disk, for a start without the server."""

    desired: node_pb2.DesiredSet


@dataclass(frozen=True, slots=True)
class UnpackBundle:
    """Answered by `BundleUnpacked` or `BundleFailed`."""

    digest: str


@dataclass(frozen=True, slots=True)
class BuildEnvironment:
    """Have a virtual environment on disk.

    Answered by `EnvironmentBuilt` or `EnvironmentFailed`, and by
    `EnvironmentProgressed` on the way.
    """

    key: str
    image: common_pb2.Image


@dataclass(frozen=True, slots=True)
class StartInstance:
    """Fork it from ``zygote``, or spawn it where that is empty.

    Answered by `ProcessStarted` or `ProcessRefused`, as all starts are.
    """

    instance_id: str
    zygote: str


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Fork a task worker of a pool from ``zygote``, or spawn it."""

    worker_id: str
    zygote: str


@dataclass(frozen=True, slots=True)
class StartZygote:
    """Fork a pool's zygote from ``parent``, or spawn it.

    Without a pool it is the base zygote of ``environment``, which knows no user
    code. Its imports' end comes as `ZygoteReported`.
    """

    zygote_id: str
    pool: str
    parent: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class SignalProcess:
    """To its process group; KILL after ``kill_after`` seconds, 0: never."""

    process_id: str
    signal: int
    kill_after: float = 0.0


@dataclass(frozen=True, slots=True)
class ForgetProcess:
    """Its exit has been taken notice of."""

    process_id: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Watch it from its start on, until `EndProbe`: `InstanceReady`, `InstanceUnwell`, …"""

    instance_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class EndProbe:
    """Stop watching."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class LeaveRotation:
    """Answered by `RotationLeft` once Envoy has taken the last `Publish`."""

    instance_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class AwaitDrained:
    """Answered by `ConnectionsGone`."""

    instance_id: str
    generation: int
    port: int


@dataclass(frozen=True, slots=True)
class RemoveInstanceFiles:
    """Secret files of an instance whose process has ended."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class RemovePoolFiles:
    """Secret files of a pool that has no process."""

    pool: str


@dataclass(frozen=True, slots=True)
class SendPrepare:
    """Give an order to a connected worker."""

    worker_id: str
    order: node_pb2.AttemptOrder


@dataclass(frozen=True, slots=True)
class SendGo:
    """Let it start."""

    worker_id: str
    go: node_pb2.AttemptGo


@dataclass(frozen=True, slots=True)
class SendAck:
    """Let a worker forget an attempt's end."""

    worker_id: str
    ack: node_pb2.AttemptAck


@dataclass(frozen=True, slots=True)
class SpoolAttempt:
    """Have an attempt's end on disk, where no server takes it."""

    report: node_pb2.AttemptReport


@dataclass(frozen=True, slots=True)
class ForgetSpooled:
    """Remove a delivered result from the spool, if it is there."""

    run: str
    epoch: int
    counter: int


@dataclass(frozen=True, slots=True)
class ReportInstance:
    """To the server; a later one of the same id replaces it.

    That it takes calls is said once other nodes' calls get in, unless the report
    is one of everything that a session begins with (``at_once``).
    """

    report: node_pb2.InstanceReport
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class ReportAttempt:
    """To the server; a later one of the same attempt replaces it."""

    report: node_pb2.AttemptReport


@dataclass(frozen=True, slots=True)
class ReportInstancesComplete:
    """Every instance has been reported."""


@dataclass(frozen=True, slots=True)
class ReportAttemptsComplete:
    """Every attempt has been reported."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Answered by `Woke`; replaces an earlier one of the same key. None: never mind."""

    key: Key
    at: float | None


Instruction = (
    Publish
    | KeepDesired
    | UnpackBundle
    | BuildEnvironment
    | StartInstance
    | StartWorker
    | StartZygote
    | SignalProcess
    | ForgetProcess
    | Probe
    | EndProbe
    | LeaveRotation
    | AwaitDrained
    | RemoveInstanceFiles
    | RemovePoolFiles
    | SendPrepare
    | SendGo
    | SendAck
    | SpoolAttempt
    | ForgetSpooled
    | ReportInstance
    | ReportAttempt
    | ReportInstancesComplete
    | ReportAttemptsComplete
    | WakeAt
)
