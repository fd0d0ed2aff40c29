"""What has happened on this node, in the past tense. Input of `step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callmeshpb.v1 import node_pb2, supervisor_pb2

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DesiredReceived:
    """The server said everything that this node shall run."""

    desired: node_pb2.DesiredSet


@dataclass(frozen=True, slots=True)
class DesiredRead:
    """What the server wanted last, from the node's disk: it may want something else by now."""

    desired: node_pb2.DesiredSet


@dataclass(frozen=True, slots=True)
class EndpointsChanged:
    """Mesh names and the base URLs at which code on this node calls them."""

    endpoints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SupervisorConnected:
    """A supervisor answered with every process that it knows of."""

    processes: tuple[supervisor_pb2.Process, ...]


@dataclass(frozen=True, slots=True)
class SupervisorLost:
    """No supervisor answers; what it started lives on."""


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """The supervisor started a process."""

    process: supervisor_pb2.Process


@dataclass(frozen=True, slots=True)
class ProcessRefused:
    """A process was not started. ``lost``: nobody knows, the supervisor went away."""

    process_id: str
    message: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """A process ended; ``log_tail`` are the last lines that it wrote."""

    process: supervisor_pb2.Process
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ZygoteReported:
    """A zygote has finished its imports, one way or the other."""

    state: supervisor_pb2.ZygoteState


@dataclass(frozen=True, slots=True)
class BundleUnpacked:
    """Code is on disk."""

    digest: str


@dataclass(frozen=True, slots=True)
class BundleFailed:
    """Code could not be fetched or unpacked."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True)
class EnvironmentProgressed:
    """How far a virtual environment is built."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class EnvironmentBuilt:
    """A virtual environment is on disk."""

    key: str


@dataclass(frozen=True, slots=True)
class EnvironmentFailed:
    """A virtual environment could not be built."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """Bundles and environments are no longer on disk: who needs one gets it anew."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InstanceReady:
    """It answered, on a listener of its own."""

    instance_id: str
    generation: int
    address: str
    port: int
    exposed: bool = False


@dataclass(frozen=True, slots=True)
class InstanceNoted:
    """Why it is not ready yet."""

    instance_id: str
    generation: int
    message: str


@dataclass(frozen=True, slots=True)
class InstanceUnwell:
    """It was ready and has lost its listener, or fails its health path."""

    instance_id: str
    generation: int
    message: str
    listener_lost: bool = False


@dataclass(frozen=True, slots=True)
class RotationLeft:
    """No Envoy of this node sends it new calls."""

    instance_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class ConnectionsGone:
    """Nobody is connected to it any more."""

    instance_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A server listens to reports."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The server is away."""


@dataclass(frozen=True, slots=True)
class AttemptOrdered:
    """An attempt shall be prepared."""

    order: node_pb2.AttemptOrder


@dataclass(frozen=True, slots=True)
class AttemptReleased:
    """Its run is committed: user code may start."""

    go: node_pb2.AttemptGo


@dataclass(frozen=True, slots=True)
class AttemptStopRequested:
    """User code shall end."""

    stop: node_pb2.AttemptStop


@dataclass(frozen=True, slots=True)
class AttemptAcknowledged:
    """The store holds its end, or does not know it."""

    ack: node_pb2.AttemptAck


@dataclass(frozen=True, slots=True)
class WorkerConnected:
    """A worker's main connection is open."""

    worker_id: str
    report: node_pb2.AttemptReport | None


@dataclass(frozen=True, slots=True)
class WorkerReported:
    """A worker said how an attempt goes."""

    worker_id: str
    report: node_pb2.AttemptReport


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """Its main connection has ended; the process may live."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class WorkersMeasured:
    """Resident memory and log size of workers, bytes, by worker id."""

    sizes: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SpoolRead:
    """Results that workers left behind while there was no agent."""

    reports: tuple[node_pb2.AttemptReport, ...]


@dataclass(frozen=True, slots=True)
class Warmed:
    """The node is up: what the first deploy needs may be made ready."""


@dataclass(frozen=True, slots=True)
class Woke:
    """The time of a `WakeAt` has come."""

    key: Key


Event = (
    DesiredReceived
    | DesiredRead
    | EndpointsChanged
    | SupervisorConnected
    | SupervisorLost
    | ProcessStarted
    | ProcessRefused
    | ProcessExited
    | ZygoteReported
    | BundleUnpacked
    | BundleFailed
    | EnvironmentProgressed
    | EnvironmentBuilt
    | EnvironmentFailed
    | Discarded
    | InstanceReady
    | InstanceNoted
    | InstanceUnwell
    | RotationLeft
    | ConnectionsGone
    | SessionOpened
    | SessionClosed
    | AttemptOrdered
    | AttemptReleased
    | AttemptStopRequested
    | AttemptAcknowledged
    | WorkerConnected
    | WorkerReported
    | WorkerDisconnected
    | WorkersMeasured
    | SpoolRead
    | Warmed
    | Woke
)
