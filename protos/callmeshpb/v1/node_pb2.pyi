from callmeshpb.v1 import common_pb2 as _common_pb2
from callmeshpb.v1 import registry_pb2 as _registry_pb2
from callmeshpb.v1 import scheduler_pb2 as _scheduler_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PagesRequest(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class PagesResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[AgentMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[AgentMessage, _Mapping]]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ServerMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[ServerMessage, _Mapping]]] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "instance", "attempt", "attempts_complete", "lease", "conditions", "log", "instances_complete", "view_taken", "ports_taken")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    VIEW_TAKEN_FIELD_NUMBER: _ClassVar[int]
    PORTS_TAKEN_FIELD_NUMBER: _ClassVar[int]
    hello: NodeHello
    instance: InstanceReport
    attempt: AttemptReport
    attempts_complete: AttemptsComplete
    lease: LeaseRenewal
    conditions: NodeConditions
    log: LogChunk
    instances_complete: InstancesComplete
    view_taken: ViewTaken
    ports_taken: PortsTaken
    def __init__(self, hello: _Optional[_Union[NodeHello, _Mapping]] = ..., instance: _Optional[_Union[InstanceReport, _Mapping]] = ..., attempt: _Optional[_Union[AttemptReport, _Mapping]] = ..., attempts_complete: _Optional[_Union[AttemptsComplete, _Mapping]] = ..., lease: _Optional[_Union[LeaseRenewal, _Mapping]] = ..., conditions: _Optional[_Union[NodeConditions, _Mapping]] = ..., log: _Optional[_Union[LogChunk, _Mapping]] = ..., instances_complete: _Optional[_Union[InstancesComplete, _Mapping]] = ..., view_taken: _Optional[_Union[ViewTaken, _Mapping]] = ..., ports_taken: _Optional[_Union[PortsTaken, _Mapping]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("welcome", "desired", "mesh_view", "prepare", "go", "stop", "ack", "log", "log_cancel", "mesh_delta")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    MESH_VIEW_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    GO_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    LOG_CANCEL_FIELD_NUMBER: _ClassVar[int]
    MESH_DELTA_FIELD_NUMBER: _ClassVar[int]
    welcome: NodeWelcome
    desired: DesiredSet
    mesh_view: MeshView
    prepare: AttemptOrder
    go: AttemptGo
    stop: AttemptStop
    ack: AttemptAck
    log: LogRequest
    log_cancel: LogCancel
    mesh_delta: MeshDelta
    def __init__(self, welcome: _Optional[_Union[NodeWelcome, _Mapping]] = ..., desired: _Optional[_Union[DesiredSet, _Mapping]] = ..., mesh_view: _Optional[_Union[MeshView, _Mapping]] = ..., prepare: _Optional[_Union[AttemptOrder, _Mapping]] = ..., go: _Optional[_Union[AttemptGo, _Mapping]] = ..., stop: _Optional[_Union[AttemptStop, _Mapping]] = ..., ack: _Optional[_Union[AttemptAck, _Mapping]] = ..., log: _Optional[_Union[LogRequest, _Mapping]] = ..., log_cancel: _Optional[_Union[LogCancel, _Mapping]] = ..., mesh_delta: _Optional[_Union[MeshDelta, _Mapping]] = ...) -> None: ...

class ViewTaken(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class PortsTaken(_message.Message):
    __slots__ = ("ports",)
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ports: _Optional[_Iterable[int]] = ...) -> None: ...

class NodeHello(_message.Message):
    __slots__ = ("node", "protocol_version", "version", "incarnation", "address", "zone", "labels", "capacity", "tells_views", "key", "sent_at", "takes_deltas", "view_version", "view_tags")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ViewTagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    TELLS_VIEWS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    TAKES_DELTAS_FIELD_NUMBER: _ClassVar[int]
    VIEW_VERSION_FIELD_NUMBER: _ClassVar[int]
    VIEW_TAGS_FIELD_NUMBER: _ClassVar[int]
    node: str
    protocol_version: int
    version: str
    incarnation: str
    address: str
    zone: str
    labels: _containers.ScalarMap[str, str]
    capacity: _scheduler_pb2.NodeCapacity
    tells_views: bool
    key: str
    sent_at: _timestamp_pb2.Timestamp
    takes_deltas: bool
    view_version: int
    view_tags: _containers.ScalarMap[str, int]
    def __init__(self, node: _Optional[str] = ..., protocol_version: _Optional[int] = ..., version: _Optional[str] = ..., incarnation: _Optional[str] = ..., address: _Optional[str] = ..., zone: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capacity: _Optional[_Union[_scheduler_pb2.NodeCapacity, _Mapping]] = ..., tells_views: bool = ..., key: _Optional[str] = ..., sent_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., takes_deltas: bool = ..., view_version: _Optional[int] = ..., view_tags: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ForwardedCaller(_message.Message):
    __slots__ = ("node", "key", "workload", "run", "app", "project", "domain", "authorization")
    NODE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    node: str
    key: str
    workload: bool
    run: str
    app: str
    project: str
    domain: str
    authorization: str
    def __init__(self, node: _Optional[str] = ..., key: _Optional[str] = ..., workload: bool = ..., run: _Optional[str] = ..., app: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., authorization: _Optional[str] = ...) -> None: ...

class NodeWelcome(_message.Message):
    __slots__ = ("epoch", "lease", "refused")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    lease: _duration_pb2.Duration
    refused: str
    def __init__(self, epoch: _Optional[int] = ..., lease: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., refused: _Optional[str] = ...) -> None: ...

class InstanceReport(_message.Message):
    __slots__ = ("id", "status", "fence", "gone")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: _scheduler_pb2.InstanceStatus
    fence: _common_pb2.Fence
    gone: bool
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[_scheduler_pb2.InstanceStatus, _Mapping]] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ..., gone: bool = ...) -> None: ...

class InstancesComplete(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttemptReport(_message.Message):
    __slots__ = ("run", "number", "fence", "phase", "worker", "outputs", "outputs_is_tuple", "error", "started_at", "ended_at", "log_start", "log_end", "message", "spawned_because")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_IS_TUPLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    LOG_START_FIELD_NUMBER: _ClassVar[int]
    LOG_END_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SPAWNED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    run: str
    number: int
    fence: _common_pb2.Fence
    phase: _scheduler_pb2.AttemptPhase
    worker: str
    outputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.Value]
    outputs_is_tuple: bool
    error: _common_pb2.Failure
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    log_start: int
    log_end: int
    message: str
    spawned_because: str
    def __init__(self, run: _Optional[str] = ..., number: _Optional[int] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ..., phase: _Optional[_Union[_scheduler_pb2.AttemptPhase, str]] = ..., worker: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[_common_pb2.Value, _Mapping]]] = ..., outputs_is_tuple: bool = ..., error: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., log_start: _Optional[int] = ..., log_end: _Optional[int] = ..., message: _Optional[str] = ..., spawned_because: _Optional[str] = ...) -> None: ...

class AttemptsComplete(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaseRenewal(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeConditions(_message.Message):
    __slots__ = ("conditions", "storage")
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    storage: _containers.RepeatedCompositeFieldContainer[_common_pb2.StorageUse]
    def __init__(self, conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., storage: _Optional[_Iterable[_Union[_common_pb2.StorageUse, _Mapping]]] = ...) -> None: ...

class DesiredSet(_message.Message):
    __slots__ = ("version", "instances")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    version: int
    instances: _containers.RepeatedCompositeFieldContainer[DesiredInstance]
    def __init__(self, version: _Optional[int] = ..., instances: _Optional[_Iterable[_Union[DesiredInstance, _Mapping]]] = ...) -> None: ...

class DesiredInstance(_message.Message):
    __slots__ = ("instance", "spec", "secret_env", "secret_files", "called_elsewhere")
    class SecretEnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretFilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SECRET_ENV_FIELD_NUMBER: _ClassVar[int]
    SECRET_FILES_FIELD_NUMBER: _ClassVar[int]
    CALLED_ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
    instance: _scheduler_pb2.Instance
    spec: _scheduler_pb2.AppSpec
    secret_env: _containers.ScalarMap[str, str]
    secret_files: _containers.ScalarMap[str, bytes]
    called_elsewhere: bool
    def __init__(self, instance: _Optional[_Union[_scheduler_pb2.Instance, _Mapping]] = ..., spec: _Optional[_Union[_scheduler_pb2.AppSpec, _Mapping]] = ..., secret_env: _Optional[_Mapping[str, str]] = ..., secret_files: _Optional[_Mapping[str, bytes]] = ..., called_elsewhere: bool = ...) -> None: ...

class MeshView(_message.Message):
    __slots__ = ("version", "services")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    version: int
    services: _containers.RepeatedCompositeFieldContainer[ServiceView]
    def __init__(self, version: _Optional[int] = ..., services: _Optional[_Iterable[_Union[ServiceView, _Mapping]]] = ...) -> None: ...

class ServiceView(_message.Message):
    __slots__ = ("service", "timeouts", "cookie_affinity", "prefer_local", "custom_domain", "tag")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    COOKIE_AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PREFER_LOCAL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    service: _registry_pb2.Service
    timeouts: _scheduler_pb2.AppTimeouts
    cookie_affinity: bool
    prefer_local: bool
    custom_domain: str
    tag: int
    def __init__(self, service: _Optional[_Union[_registry_pb2.Service, _Mapping]] = ..., timeouts: _Optional[_Union[_scheduler_pb2.AppTimeouts, _Mapping]] = ..., cookie_affinity: bool = ..., prefer_local: bool = ..., custom_domain: _Optional[str] = ..., tag: _Optional[int] = ...) -> None: ...

class MeshDelta(_message.Message):
    __slots__ = ("from_version", "version", "changed", "removed")
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    from_version: int
    version: int
    changed: _containers.RepeatedCompositeFieldContainer[ServiceView]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, from_version: _Optional[int] = ..., version: _Optional[int] = ..., changed: _Optional[_Iterable[_Union[ServiceView, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class AttemptOrder(_message.Message):
    __slots__ = ("run", "number", "fence", "task", "project", "domain", "inputs", "idempotency_key", "parent", "group", "traceparent", "custom_context", "env_vars", "secret_env", "secret_files")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.Value, _Mapping]] = ...) -> None: ...
    class CustomContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretEnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretFilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    SECRET_ENV_FIELD_NUMBER: _ClassVar[int]
    SECRET_FILES_FIELD_NUMBER: _ClassVar[int]
    run: str
    number: int
    fence: _common_pb2.Fence
    task: _scheduler_pb2.Task
    project: str
    domain: str
    inputs: _containers.MessageMap[str, _common_pb2.Value]
    idempotency_key: str
    parent: str
    group: str
    traceparent: str
    custom_context: _containers.ScalarMap[str, str]
    env_vars: _containers.ScalarMap[str, str]
    secret_env: _containers.ScalarMap[str, str]
    secret_files: _containers.ScalarMap[str, bytes]
    def __init__(self, run: _Optional[str] = ..., number: _Optional[int] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ..., task: _Optional[_Union[_scheduler_pb2.Task, _Mapping]] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _common_pb2.Value]] = ..., idempotency_key: _Optional[str] = ..., parent: _Optional[str] = ..., group: _Optional[str] = ..., traceparent: _Optional[str] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., secret_env: _Optional[_Mapping[str, str]] = ..., secret_files: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class AttemptGo(_message.Message):
    __slots__ = ("run", "fence")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    run: str
    fence: _common_pb2.Fence
    def __init__(self, run: _Optional[str] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ...) -> None: ...

class AttemptStop(_message.Message):
    __slots__ = ("run", "fence", "reason", "grace")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    run: str
    fence: _common_pb2.Fence
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, run: _Optional[str] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttemptAck(_message.Message):
    __slots__ = ("run", "fence")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    run: str
    fence: _common_pb2.Fence
    def __init__(self, run: _Optional[str] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ...) -> None: ...

class LogRequest(_message.Message):
    __slots__ = ("stream_id", "instance_id", "attempt", "tail_lines", "follow", "resume")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TAIL_LINES_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    instance_id: str
    attempt: AttemptLog
    tail_lines: int
    follow: bool
    resume: int
    def __init__(self, stream_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., attempt: _Optional[_Union[AttemptLog, _Mapping]] = ..., tail_lines: _Optional[int] = ..., follow: bool = ..., resume: _Optional[int] = ...) -> None: ...

class AttemptLog(_message.Message):
    __slots__ = ("worker", "start", "end")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    worker: str
    start: int
    end: int
    def __init__(self, worker: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class LogCancel(_message.Message):
    __slots__ = ("stream_id",)
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    def __init__(self, stream_id: _Optional[str] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("stream_id", "lines", "end", "error", "position")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    end: bool
    error: str
    position: int
    def __init__(self, stream_id: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ..., end: bool = ..., error: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("request_id", "node", "deadline", "undo")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    node: str
    deadline: _duration_pb2.Duration
    undo: bool
    def __init__(self, request_id: _Optional[str] = ..., node: _Optional[str] = ..., deadline: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., undo: bool = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: _scheduler_pb2.Node
    def __init__(self, node: _Optional[_Union[_scheduler_pb2.Node, _Mapping]] = ...) -> None: ...
