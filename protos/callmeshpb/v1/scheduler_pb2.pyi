from callmeshpb.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APP_KIND_UNSPECIFIED: _ClassVar[AppKind]
    APP_KIND_ASGI: _ClassVar[AppKind]
    APP_KIND_SERVER: _ClassVar[AppKind]
    APP_KIND_COMMAND: _ClassVar[AppKind]

class DesiredState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_STATE_UNSPECIFIED: _ClassVar[DesiredState]
    DESIRED_STATE_ACTIVE: _ClassVar[DesiredState]
    DESIRED_STATE_INACTIVE: _ClassVar[DesiredState]

class AppState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APP_STATE_UNSPECIFIED: _ClassVar[AppState]
    APP_STATE_PENDING: _ClassVar[AppState]
    APP_STATE_DEPLOYING: _ClassVar[AppState]
    APP_STATE_READY: _ClassVar[AppState]
    APP_STATE_FAILED: _ClassVar[AppState]
    APP_STATE_INACTIVE: _ClassVar[AppState]
    APP_STATE_DELETING: _ClassVar[AppState]

class InstanceIntent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSTANCE_INTENT_UNSPECIFIED: _ClassVar[InstanceIntent]
    INSTANCE_INTENT_RUN: _ClassVar[InstanceIntent]
    INSTANCE_INTENT_DRAIN: _ClassVar[InstanceIntent]
    INSTANCE_INTENT_STOP: _ClassVar[InstanceIntent]

class InstanceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSTANCE_STATE_UNSPECIFIED: _ClassVar[InstanceState]
    INSTANCE_STATE_PENDING: _ClassVar[InstanceState]
    INSTANCE_STATE_PREPARING: _ClassVar[InstanceState]
    INSTANCE_STATE_STARTING: _ClassVar[InstanceState]
    INSTANCE_STATE_READY: _ClassVar[InstanceState]
    INSTANCE_STATE_UNHEALTHY: _ClassVar[InstanceState]
    INSTANCE_STATE_BACKOFF: _ClassVar[InstanceState]
    INSTANCE_STATE_DRAINING: _ClassVar[InstanceState]
    INSTANCE_STATE_STOPPED: _ClassVar[InstanceState]

class CacheUse(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_USE_UNSPECIFIED: _ClassVar[CacheUse]
    CACHE_USE_OVERWRITE: _ClassVar[CacheUse]
    CACHE_USE_DISABLE: _ClassVar[CacheUse]

class RunPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_PHASE_UNSPECIFIED: _ClassVar[RunPhase]
    RUN_PHASE_QUEUED: _ClassVar[RunPhase]
    RUN_PHASE_WAITING_FOR_RESOURCES: _ClassVar[RunPhase]
    RUN_PHASE_INITIALIZING: _ClassVar[RunPhase]
    RUN_PHASE_RUNNING: _ClassVar[RunPhase]
    RUN_PHASE_PAUSED: _ClassVar[RunPhase]
    RUN_PHASE_SUCCEEDED: _ClassVar[RunPhase]
    RUN_PHASE_FAILED: _ClassVar[RunPhase]
    RUN_PHASE_ABORTED: _ClassVar[RunPhase]
    RUN_PHASE_TIMED_OUT: _ClassVar[RunPhase]
    RUN_PHASE_RECOVERED: _ClassVar[RunPhase]

class AttemptPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTEMPT_PHASE_UNSPECIFIED: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_DISPATCHED: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_RUNNING: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_SUCCEEDED: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_FAILED: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_LOST: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_ABORTED: _ClassVar[AttemptPhase]
    ATTEMPT_PHASE_TIMED_OUT: _ClassVar[AttemptPhase]
APP_KIND_UNSPECIFIED: AppKind
APP_KIND_ASGI: AppKind
APP_KIND_SERVER: AppKind
APP_KIND_COMMAND: AppKind
DESIRED_STATE_UNSPECIFIED: DesiredState
DESIRED_STATE_ACTIVE: DesiredState
DESIRED_STATE_INACTIVE: DesiredState
APP_STATE_UNSPECIFIED: AppState
APP_STATE_PENDING: AppState
APP_STATE_DEPLOYING: AppState
APP_STATE_READY: AppState
APP_STATE_FAILED: AppState
APP_STATE_INACTIVE: AppState
APP_STATE_DELETING: AppState
INSTANCE_INTENT_UNSPECIFIED: InstanceIntent
INSTANCE_INTENT_RUN: InstanceIntent
INSTANCE_INTENT_DRAIN: InstanceIntent
INSTANCE_INTENT_STOP: InstanceIntent
INSTANCE_STATE_UNSPECIFIED: InstanceState
INSTANCE_STATE_PENDING: InstanceState
INSTANCE_STATE_PREPARING: InstanceState
INSTANCE_STATE_STARTING: InstanceState
INSTANCE_STATE_READY: InstanceState
INSTANCE_STATE_UNHEALTHY: InstanceState
INSTANCE_STATE_BACKOFF: InstanceState
INSTANCE_STATE_DRAINING: InstanceState
INSTANCE_STATE_STOPPED: InstanceState
CACHE_USE_UNSPECIFIED: CacheUse
CACHE_USE_OVERWRITE: CacheUse
CACHE_USE_DISABLE: CacheUse
RUN_PHASE_UNSPECIFIED: RunPhase
RUN_PHASE_QUEUED: RunPhase
RUN_PHASE_WAITING_FOR_RESOURCES: RunPhase
RUN_PHASE_INITIALIZING: RunPhase
RUN_PHASE_RUNNING: RunPhase
RUN_PHASE_PAUSED: RunPhase
RUN_PHASE_SUCCEEDED: RunPhase
RUN_PHASE_FAILED: RunPhase
RUN_PHASE_ABORTED: RunPhase
RUN_PHASE_TIMED_OUT: RunPhase
RUN_PHASE_RECOVERED: RunPhase
ATTEMPT_PHASE_UNSPECIFIED: AttemptPhase
ATTEMPT_PHASE_DISPATCHED: AttemptPhase
ATTEMPT_PHASE_RUNNING: AttemptPhase
ATTEMPT_PHASE_SUCCEEDED: AttemptPhase
ATTEMPT_PHASE_FAILED: AttemptPhase
ATTEMPT_PHASE_LOST: AttemptPhase
ATTEMPT_PHASE_ABORTED: AttemptPhase
ATTEMPT_PHASE_TIMED_OUT: AttemptPhase

class AppSpec(_message.Message):
    __slots__ = ("project", "domain", "name", "version", "kind", "protocol", "code", "image", "port", "command", "args", "parameters", "env_vars", "secrets", "resources", "min_replicas", "max_replicas", "timeouts", "health_path", "requires_auth", "depends_on", "cookie_affinity", "prefer_local", "custom_domain", "links", "description")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_PATH_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_AUTH_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    COOKIE_AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PREFER_LOCAL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    name: str
    version: str
    kind: AppKind
    protocol: _common_pb2.Protocol
    code: _common_pb2.Code
    image: _common_pb2.Image
    port: int
    command: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.RepeatedScalarFieldContainer[str]
    parameters: _containers.RepeatedCompositeFieldContainer[AppParameter]
    env_vars: _containers.ScalarMap[str, str]
    secrets: _containers.RepeatedCompositeFieldContainer[_common_pb2.SecretRef]
    resources: _common_pb2.Resources
    min_replicas: int
    max_replicas: int
    timeouts: AppTimeouts
    health_path: str
    requires_auth: bool
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    cookie_affinity: bool
    prefer_local: bool
    custom_domain: str
    links: _containers.RepeatedCompositeFieldContainer[AppLink]
    description: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., kind: _Optional[_Union[AppKind, str]] = ..., protocol: _Optional[_Union[_common_pb2.Protocol, str]] = ..., code: _Optional[_Union[_common_pb2.Code, _Mapping]] = ..., image: _Optional[_Union[_common_pb2.Image, _Mapping]] = ..., port: _Optional[int] = ..., command: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., parameters: _Optional[_Iterable[_Union[AppParameter, _Mapping]]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Iterable[_Union[_common_pb2.SecretRef, _Mapping]]] = ..., resources: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., timeouts: _Optional[_Union[AppTimeouts, _Mapping]] = ..., health_path: _Optional[str] = ..., requires_auth: bool = ..., depends_on: _Optional[_Iterable[str]] = ..., cookie_affinity: bool = ..., prefer_local: bool = ..., custom_domain: _Optional[str] = ..., links: _Optional[_Iterable[_Union[AppLink, _Mapping]]] = ..., description: _Optional[str] = ...) -> None: ...

class AppParameter(_message.Message):
    __slots__ = ("name", "env_var", "text", "app_endpoint", "blob", "mount", "public", "file_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENV_VAR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    APP_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    env_var: str
    text: str
    app_endpoint: str
    blob: _common_pb2.BlobRef
    mount: str
    public: bool
    file_name: str
    def __init__(self, name: _Optional[str] = ..., env_var: _Optional[str] = ..., text: _Optional[str] = ..., app_endpoint: _Optional[str] = ..., blob: _Optional[_Union[_common_pb2.BlobRef, _Mapping]] = ..., mount: _Optional[str] = ..., public: bool = ..., file_name: _Optional[str] = ...) -> None: ...

class AppTimeouts(_message.Message):
    __slots__ = ("request", "startup", "drain")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    STARTUP_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    request: _duration_pb2.Duration
    startup: _duration_pb2.Duration
    drain: _duration_pb2.Duration
    def __init__(self, request: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., startup: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., drain: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AppLink(_message.Message):
    __slots__ = ("path", "title", "is_relative")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    IS_RELATIVE_FIELD_NUMBER: _ClassVar[int]
    path: str
    title: str
    is_relative: bool
    def __init__(self, path: _Optional[str] = ..., title: _Optional[str] = ..., is_relative: bool = ...) -> None: ...

class App(_message.Message):
    __slots__ = ("spec", "revision", "desired_state", "mesh_port", "serving_revision", "serving_spec", "conditions", "created_at", "updated_at", "etag", "endpoint", "url", "state", "instances", "history", "deleting")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    MESH_PORT_FIELD_NUMBER: _ClassVar[int]
    SERVING_REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVING_SPEC_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    DELETING_FIELD_NUMBER: _ClassVar[int]
    spec: AppSpec
    revision: int
    desired_state: DesiredState
    mesh_port: int
    serving_revision: int
    serving_spec: AppSpec
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    etag: int
    endpoint: str
    url: str
    state: AppState
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    history: _containers.RepeatedCompositeFieldContainer[AppRevision]
    deleting: bool
    def __init__(self, spec: _Optional[_Union[AppSpec, _Mapping]] = ..., revision: _Optional[int] = ..., desired_state: _Optional[_Union[DesiredState, str]] = ..., mesh_port: _Optional[int] = ..., serving_revision: _Optional[int] = ..., serving_spec: _Optional[_Union[AppSpec, _Mapping]] = ..., conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[int] = ..., endpoint: _Optional[str] = ..., url: _Optional[str] = ..., state: _Optional[_Union[AppState, str]] = ..., instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[AppRevision, _Mapping]]] = ..., deleting: bool = ...) -> None: ...

class AppRevision(_message.Message):
    __slots__ = ("revision", "spec", "created_at", "was_ready")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    WAS_READY_FIELD_NUMBER: _ClassVar[int]
    revision: int
    spec: AppSpec
    created_at: _timestamp_pb2.Timestamp
    was_ready: bool
    def __init__(self, revision: _Optional[int] = ..., spec: _Optional[_Union[AppSpec, _Mapping]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., was_ready: bool = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("id", "project", "domain", "app", "revision", "node", "intent", "status", "created_at", "fence")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    project: str
    domain: str
    app: str
    revision: int
    node: str
    intent: InstanceIntent
    status: InstanceStatus
    created_at: _timestamp_pb2.Timestamp
    fence: _common_pb2.Fence
    def __init__(self, id: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., app: _Optional[str] = ..., revision: _Optional[int] = ..., node: _Optional[str] = ..., intent: _Optional[_Union[InstanceIntent, str]] = ..., status: _Optional[_Union[InstanceStatus, _Mapping]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ...) -> None: ...

class InstanceStatus(_message.Message):
    __slots__ = ("state", "address", "port", "pid", "restarts", "message", "last_exit", "log_tail", "changed_at", "consecutive_failures", "exposed", "prepared_at", "inbound_port")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LAST_EXIT_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_FIELD_NUMBER: _ClassVar[int]
    PREPARED_AT_FIELD_NUMBER: _ClassVar[int]
    INBOUND_PORT_FIELD_NUMBER: _ClassVar[int]
    state: InstanceState
    address: str
    port: int
    pid: int
    restarts: int
    message: str
    last_exit: str
    log_tail: _containers.RepeatedScalarFieldContainer[str]
    changed_at: _timestamp_pb2.Timestamp
    consecutive_failures: int
    exposed: bool
    prepared_at: _timestamp_pb2.Timestamp
    inbound_port: int
    def __init__(self, state: _Optional[_Union[InstanceState, str]] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., pid: _Optional[int] = ..., restarts: _Optional[int] = ..., message: _Optional[str] = ..., last_exit: _Optional[str] = ..., log_tail: _Optional[_Iterable[str]] = ..., changed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., consecutive_failures: _Optional[int] = ..., exposed: bool = ..., prepared_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., inbound_port: _Optional[int] = ...) -> None: ...

class TaskEnvironmentSpec(_message.Message):
    __slots__ = ("project", "domain", "name", "version", "code", "image", "env_vars", "secrets", "resources", "depends_on", "tasks", "description")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    name: str
    version: str
    code: _common_pb2.Code
    image: _common_pb2.Image
    env_vars: _containers.ScalarMap[str, str]
    secrets: _containers.RepeatedCompositeFieldContainer[_common_pb2.SecretRef]
    resources: _common_pb2.Resources
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskSpec]
    description: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., code: _Optional[_Union[_common_pb2.Code, _Mapping]] = ..., image: _Optional[_Union[_common_pb2.Image, _Mapping]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Iterable[_Union[_common_pb2.SecretRef, _Mapping]]] = ..., resources: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., depends_on: _Optional[_Iterable[str]] = ..., tasks: _Optional[_Iterable[_Union[TaskSpec, _Mapping]]] = ..., description: _Optional[str] = ...) -> None: ...

class TaskSpec(_message.Message):
    __slots__ = ("name", "short_name", "function", "interface", "retries", "timeouts", "resources", "fresh", "docs", "cache")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    DOCS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    name: str
    short_name: str
    function: str
    interface: TaskInterface
    retries: RetryPolicy
    timeouts: TaskTimeouts
    resources: _common_pb2.Resources
    fresh: bool
    docs: str
    cache: CachePolicy
    def __init__(self, name: _Optional[str] = ..., short_name: _Optional[str] = ..., function: _Optional[str] = ..., interface: _Optional[_Union[TaskInterface, _Mapping]] = ..., retries: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeouts: _Optional[_Union[TaskTimeouts, _Mapping]] = ..., resources: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., fresh: bool = ..., docs: _Optional[str] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("version", "ignored_inputs", "max_age", "serialize")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IGNORED_INPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    SERIALIZE_FIELD_NUMBER: _ClassVar[int]
    version: str
    ignored_inputs: _containers.RepeatedScalarFieldContainer[str]
    max_age: _duration_pb2.Duration
    serialize: bool
    def __init__(self, version: _Optional[str] = ..., ignored_inputs: _Optional[_Iterable[str]] = ..., max_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., serialize: bool = ...) -> None: ...

class TaskInterface(_message.Message):
    __slots__ = ("parameters", "result_schema", "result_type", "result_arity", "accepts_extra")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    RESULT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    RESULT_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESULT_ARITY_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_EXTRA_FIELD_NUMBER: _ClassVar[int]
    parameters: _containers.RepeatedCompositeFieldContainer[TaskParameter]
    result_schema: str
    result_type: str
    result_arity: int
    accepts_extra: bool
    def __init__(self, parameters: _Optional[_Iterable[_Union[TaskParameter, _Mapping]]] = ..., result_schema: _Optional[str] = ..., result_type: _Optional[str] = ..., result_arity: _Optional[int] = ..., accepts_extra: bool = ...) -> None: ...

class TaskParameter(_message.Message):
    __slots__ = ("name", "schema", "type", "required", "default_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema: str
    type: str
    required: bool
    default_value: _common_pb2.Value
    def __init__(self, name: _Optional[str] = ..., schema: _Optional[str] = ..., type: _Optional[str] = ..., required: bool = ..., default_value: _Optional[_Union[_common_pb2.Value, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("count", "base", "factor", "cap")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    count: int
    base: _duration_pb2.Duration
    factor: float
    cap: _duration_pb2.Duration
    def __init__(self, count: _Optional[int] = ..., base: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., factor: _Optional[float] = ..., cap: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TaskTimeouts(_message.Message):
    __slots__ = ("max_runtime", "max_queued_time", "deadline")
    MAX_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    max_runtime: _duration_pb2.Duration
    max_queued_time: _duration_pb2.Duration
    deadline: _duration_pb2.Duration
    def __init__(self, max_runtime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_queued_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., deadline: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("environment", "spec", "created_at", "ephemeral")
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    environment: TaskEnvironmentSpec
    spec: TaskSpec
    created_at: _timestamp_pb2.Timestamp
    ephemeral: bool
    def __init__(self, environment: _Optional[_Union[TaskEnvironmentSpec, _Mapping]] = ..., spec: _Optional[_Union[TaskSpec, _Mapping]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ephemeral: bool = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("name", "project", "domain", "task", "task_version", "phase", "message", "inputs", "outputs", "error", "attempts", "parent", "group", "trace_id", "traceparent", "custom_context", "idempotency_key", "created_at", "started_at", "ended_at", "url", "etag", "outputs_is_tuple", "next_attempt_at", "env_vars", "requested_by", "retries", "timeouts", "cached_from", "cache_key", "cache_use", "run_env_vars", "step", "cache_serialize", "resources", "short_name", "secrets")
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
    class RunEnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_IS_TUPLE_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_AT_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    CACHED_FROM_FIELD_NUMBER: _ClassVar[int]
    CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    CACHE_USE_FIELD_NUMBER: _ClassVar[int]
    RUN_ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CACHE_SERIALIZE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    domain: str
    task: str
    task_version: str
    phase: RunPhase
    message: str
    inputs: _containers.MessageMap[str, _common_pb2.Value]
    outputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.Value]
    error: _common_pb2.Failure
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    parent: str
    group: str
    trace_id: str
    traceparent: str
    custom_context: _containers.ScalarMap[str, str]
    idempotency_key: str
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    url: str
    etag: int
    outputs_is_tuple: bool
    next_attempt_at: _timestamp_pb2.Timestamp
    env_vars: _containers.ScalarMap[str, str]
    requested_by: str
    retries: RetryPolicy
    timeouts: TaskTimeouts
    cached_from: str
    cache_key: str
    cache_use: CacheUse
    run_env_vars: _containers.ScalarMap[str, str]
    step: str
    cache_serialize: bool
    resources: _common_pb2.Resources
    short_name: str
    secrets: _containers.RepeatedCompositeFieldContainer[_common_pb2.SecretRef]
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ..., task: _Optional[str] = ..., task_version: _Optional[str] = ..., phase: _Optional[_Union[RunPhase, str]] = ..., message: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _common_pb2.Value]] = ..., outputs: _Optional[_Iterable[_Union[_common_pb2.Value, _Mapping]]] = ..., error: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., parent: _Optional[str] = ..., group: _Optional[str] = ..., trace_id: _Optional[str] = ..., traceparent: _Optional[str] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., idempotency_key: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., url: _Optional[str] = ..., etag: _Optional[int] = ..., outputs_is_tuple: bool = ..., next_attempt_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., requested_by: _Optional[str] = ..., retries: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeouts: _Optional[_Union[TaskTimeouts, _Mapping]] = ..., cached_from: _Optional[str] = ..., cache_key: _Optional[str] = ..., cache_use: _Optional[_Union[CacheUse, str]] = ..., run_env_vars: _Optional[_Mapping[str, str]] = ..., step: _Optional[str] = ..., cache_serialize: bool = ..., resources: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., short_name: _Optional[str] = ..., secrets: _Optional[_Iterable[_Union[_common_pb2.SecretRef, _Mapping]]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "node", "worker", "fence", "phase", "error", "created_at", "started_at", "ended_at", "log_start", "log_end", "spawned_because", "stopping_since")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    LOG_START_FIELD_NUMBER: _ClassVar[int]
    LOG_END_FIELD_NUMBER: _ClassVar[int]
    SPAWNED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    STOPPING_SINCE_FIELD_NUMBER: _ClassVar[int]
    number: int
    node: str
    worker: str
    fence: _common_pb2.Fence
    phase: AttemptPhase
    error: _common_pb2.Failure
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    log_start: int
    log_end: int
    spawned_because: str
    stopping_since: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., node: _Optional[str] = ..., worker: _Optional[str] = ..., fence: _Optional[_Union[_common_pb2.Fence, _Mapping]] = ..., phase: _Optional[_Union[AttemptPhase, str]] = ..., error: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., log_start: _Optional[int] = ..., log_end: _Optional[int] = ..., spawned_because: _Optional[str] = ..., stopping_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TaskRef(_message.Message):
    __slots__ = ("scope", "name", "version")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    name: str
    version: str
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "address", "zone", "labels", "capacity", "conditions", "instances", "attempts", "version", "joined_at", "connected", "storage", "key_digest", "drain", "lost", "away_since")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    JOINED_AT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    AWAY_SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    zone: str
    labels: _containers.ScalarMap[str, str]
    capacity: NodeCapacity
    conditions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Condition]
    instances: int
    attempts: int
    version: str
    joined_at: _timestamp_pb2.Timestamp
    connected: bool
    storage: _containers.RepeatedCompositeFieldContainer[_common_pb2.StorageUse]
    key_digest: bytes
    drain: NodeDrain
    lost: bool
    away_since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., zone: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capacity: _Optional[_Union[NodeCapacity, _Mapping]] = ..., conditions: _Optional[_Iterable[_Union[_common_pb2.Condition, _Mapping]]] = ..., instances: _Optional[int] = ..., attempts: _Optional[int] = ..., version: _Optional[str] = ..., joined_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., connected: bool = ..., storage: _Optional[_Iterable[_Union[_common_pb2.StorageUse, _Mapping]]] = ..., key_digest: _Optional[bytes] = ..., drain: _Optional[_Union[NodeDrain, _Mapping]] = ..., lost: bool = ..., away_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NodeDrain(_message.Message):
    __slots__ = ("started_at", "deadline_at", "expired", "ended", "left")
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    started_at: _timestamp_pb2.Timestamp
    deadline_at: _timestamp_pb2.Timestamp
    expired: bool
    ended: _containers.RepeatedCompositeFieldContainer[NodeWork]
    left: _containers.RepeatedCompositeFieldContainer[NodeWork]
    def __init__(self, started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., deadline_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expired: bool = ..., ended: _Optional[_Iterable[_Union[NodeWork, _Mapping]]] = ..., left: _Optional[_Iterable[_Union[NodeWork, _Mapping]]] = ...) -> None: ...

class NodeWork(_message.Message):
    __slots__ = ("project", "domain", "app", "run", "instances", "message")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    app: str
    run: str
    instances: int
    message: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., app: _Optional[str] = ..., run: _Optional[str] = ..., instances: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class NodeCapacity(_message.Message):
    __slots__ = ("cpu", "memory", "slots", "python_versions", "shared_cpu")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SHARED_CPU_FIELD_NUMBER: _ClassVar[int]
    cpu: float
    memory: int
    slots: int
    python_versions: _containers.RepeatedScalarFieldContainer[str]
    shared_cpu: bool
    def __init__(self, cpu: _Optional[float] = ..., memory: _Optional[int] = ..., slots: _Optional[int] = ..., python_versions: _Optional[_Iterable[str]] = ..., shared_cpu: bool = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("request_id", "scope", "version", "apps", "task_environments", "ephemeral")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPS_FIELD_NUMBER: _ClassVar[int]
    TASK_ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    scope: _common_pb2.Scope
    version: str
    apps: _containers.RepeatedCompositeFieldContainer[AppSpec]
    task_environments: _containers.RepeatedCompositeFieldContainer[TaskEnvironmentSpec]
    ephemeral: bool
    def __init__(self, request_id: _Optional[str] = ..., scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., version: _Optional[str] = ..., apps: _Optional[_Iterable[_Union[AppSpec, _Mapping]]] = ..., task_environments: _Optional[_Iterable[_Union[TaskEnvironmentSpec, _Mapping]]] = ..., ephemeral: bool = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("apps", "tasks", "notices")
    APPS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[App]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    notices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, apps: _Optional[_Iterable[_Union[App, _Mapping]]] = ..., tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., notices: _Optional[_Iterable[str]] = ...) -> None: ...

class GetAppRequest(_message.Message):
    __slots__ = ("scope", "name")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    name: str
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class GetAppResponse(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: App
    def __init__(self, app: _Optional[_Union[App, _Mapping]] = ...) -> None: ...

class ListAppsRequest(_message.Message):
    __slots__ = ("scope", "page_size", "page_token", "all_scopes")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ALL_SCOPES_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    page_size: int
    page_token: str
    all_scopes: bool
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., all_scopes: bool = ...) -> None: ...

class ListAppsResponse(_message.Message):
    __slots__ = ("apps", "next_page_token")
    APPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[App]
    next_page_token: str
    def __init__(self, apps: _Optional[_Iterable[_Union[App, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAppRequest(_message.Message):
    __slots__ = ("scope", "name")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    name: str
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class WatchAppResponse(_message.Message):
    __slots__ = ("app", "deleted")
    APP_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    app: App
    deleted: bool
    def __init__(self, app: _Optional[_Union[App, _Mapping]] = ..., deleted: bool = ...) -> None: ...

class UpdateAppRequest(_message.Message):
    __slots__ = ("request_id", "scope", "name", "desired_state", "scale", "rollback_to", "etag")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_TO_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    scope: _common_pb2.Scope
    name: str
    desired_state: DesiredState
    scale: ScaleApp
    rollback_to: int
    etag: int
    def __init__(self, request_id: _Optional[str] = ..., scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., name: _Optional[str] = ..., desired_state: _Optional[_Union[DesiredState, str]] = ..., scale: _Optional[_Union[ScaleApp, _Mapping]] = ..., rollback_to: _Optional[int] = ..., etag: _Optional[int] = ...) -> None: ...

class ScaleApp(_message.Message):
    __slots__ = ("min_replicas", "max_replicas")
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    min_replicas: int
    max_replicas: int
    def __init__(self, min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ...) -> None: ...

class UpdateAppResponse(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: App
    def __init__(self, app: _Optional[_Union[App, _Mapping]] = ...) -> None: ...

class DeleteAppRequest(_message.Message):
    __slots__ = ("request_id", "scope", "name")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    scope: _common_pb2.Scope
    name: str
    def __init__(self, request_id: _Optional[str] = ..., scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteAppResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: TaskRef
    def __init__(self, task: _Optional[_Union[TaskRef, _Mapping]] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("scope", "page_size", "page_token", "all_versions")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ALL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    page_size: int
    page_token: str
    all_versions: bool
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., all_versions: bool = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Submission(_message.Message):
    __slots__ = ("request_id", "task", "inputs", "run_name", "parent", "group", "traceparent", "custom_context", "retries", "timeouts", "env_vars", "cache", "cache_use", "run_env_vars", "step", "resources", "short_name", "secrets")
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
    class RunEnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    RUN_NAME_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    CACHE_USE_FIELD_NUMBER: _ClassVar[int]
    RUN_ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    task: TaskRef
    inputs: _containers.MessageMap[str, _common_pb2.Value]
    run_name: str
    parent: str
    group: str
    traceparent: str
    custom_context: _containers.ScalarMap[str, str]
    retries: RetryPolicy
    timeouts: TaskTimeouts
    env_vars: _containers.ScalarMap[str, str]
    cache: CachePolicy
    cache_use: CacheUse
    run_env_vars: _containers.ScalarMap[str, str]
    step: RecordedStep
    resources: _common_pb2.Resources
    short_name: str
    secrets: _containers.RepeatedCompositeFieldContainer[_common_pb2.SecretRef]
    def __init__(self, request_id: _Optional[str] = ..., task: _Optional[_Union[TaskRef, _Mapping]] = ..., inputs: _Optional[_Mapping[str, _common_pb2.Value]] = ..., run_name: _Optional[str] = ..., parent: _Optional[str] = ..., group: _Optional[str] = ..., traceparent: _Optional[str] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., retries: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeouts: _Optional[_Union[TaskTimeouts, _Mapping]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., cache_use: _Optional[_Union[CacheUse, str]] = ..., run_env_vars: _Optional[_Mapping[str, str]] = ..., step: _Optional[_Union[RecordedStep, _Mapping]] = ..., resources: _Optional[_Union[_common_pb2.Resources, _Mapping]] = ..., short_name: _Optional[str] = ..., secrets: _Optional[_Iterable[_Union[_common_pb2.SecretRef, _Mapping]]] = ...) -> None: ...

class RecordedStep(_message.Message):
    __slots__ = ("function", "outputs", "outputs_is_tuple", "error", "started_at")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_IS_TUPLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    function: str
    outputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.Value]
    outputs_is_tuple: bool
    error: _common_pb2.Failure
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, function: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[_common_pb2.Value, _Mapping]]] = ..., outputs_is_tuple: bool = ..., error: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RunTaskRequest(_message.Message):
    __slots__ = ("submission",)
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    submission: Submission
    def __init__(self, submission: _Optional[_Union[Submission, _Mapping]] = ...) -> None: ...

class RunTaskResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("submissions",)
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    submissions: _containers.RepeatedCompositeFieldContainer[Submission]
    def __init__(self, submissions: _Optional[_Iterable[_Union[Submission, _Mapping]]] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("updates",)
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[RunUpdate]
    def __init__(self, updates: _Optional[_Iterable[_Union[RunUpdate, _Mapping]]] = ...) -> None: ...

class RunUpdate(_message.Message):
    __slots__ = ("request_id", "run", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    run: Run
    error: SubmitError
    def __init__(self, request_id: _Optional[str] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., error: _Optional[_Union[SubmitError, _Mapping]] = ...) -> None: ...

class SubmitError(_message.Message):
    __slots__ = ("code", "message", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class AbortRunRequest(_message.Message):
    __slots__ = ("request_id", "name", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    name: str
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: Run
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("scope", "page_size", "page_token", "task", "phases", "parent", "all_scopes")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ALL_SCOPES_FIELD_NUMBER: _ClassVar[int]
    scope: _common_pb2.Scope
    page_size: int
    page_token: str
    task: str
    phases: _containers.RepeatedScalarFieldContainer[RunPhase]
    parent: str
    all_scopes: bool
    def __init__(self, scope: _Optional[_Union[_common_pb2.Scope, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., task: _Optional[str] = ..., phases: _Optional[_Iterable[_Union[RunPhase, str]]] = ..., parent: _Optional[str] = ..., all_scopes: bool = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes", "next_page_token")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    next_page_token: str
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchNodeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchNodeResponse(_message.Message):
    __slots__ = ("node", "deleted")
    NODE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    node: Node
    deleted: bool
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., deleted: bool = ...) -> None: ...

class DeleteNodeRequest(_message.Message):
    __slots__ = ("request_id", "name")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    name: str
    def __init__(self, request_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteNodeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerRequest(_message.Message):
    __slots__ = ("storage",)
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    storage: bool
    def __init__(self, storage: bool = ...) -> None: ...

class GetServerResponse(_message.Message):
    __slots__ = ("version", "protocol_version", "state_dir", "ingress_url", "started_at", "epoch", "pid", "caller", "storage")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_DIR_FIELD_NUMBER: _ClassVar[int]
    INGRESS_URL_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol_version: int
    state_dir: str
    ingress_url: str
    started_at: _timestamp_pb2.Timestamp
    epoch: int
    pid: int
    caller: str
    storage: _containers.RepeatedCompositeFieldContainer[_common_pb2.StorageUse]
    def __init__(self, version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., state_dir: _Optional[str] = ..., ingress_url: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., epoch: _Optional[int] = ..., pid: _Optional[int] = ..., caller: _Optional[str] = ..., storage: _Optional[_Iterable[_Union[_common_pb2.StorageUse, _Mapping]]] = ...) -> None: ...
