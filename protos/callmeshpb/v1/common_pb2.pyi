from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConditionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_STATUS_UNSPECIFIED: _ClassVar[ConditionStatus]
    CONDITION_STATUS_TRUE: _ClassVar[ConditionStatus]
    CONDITION_STATUS_FALSE: _ClassVar[ConditionStatus]
    CONDITION_STATUS_UNKNOWN: _ClassVar[ConditionStatus]

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_HTTP: _ClassVar[Protocol]
    PROTOCOL_GRPC: _ClassVar[Protocol]

class FailureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_KIND_UNSPECIFIED: _ClassVar[FailureKind]
    FAILURE_KIND_USER: _ClassVar[FailureKind]
    FAILURE_KIND_SYSTEM: _ClassVar[FailureKind]
CONDITION_STATUS_UNSPECIFIED: ConditionStatus
CONDITION_STATUS_TRUE: ConditionStatus
CONDITION_STATUS_FALSE: ConditionStatus
CONDITION_STATUS_UNKNOWN: ConditionStatus
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_HTTP: Protocol
PROTOCOL_GRPC: Protocol
FAILURE_KIND_UNSPECIFIED: FailureKind
FAILURE_KIND_USER: FailureKind
FAILURE_KIND_SYSTEM: FailureKind

class Condition(_message.Message):
    __slots__ = ("type", "status", "reason", "message", "changed_at", "observed_revision")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    type: str
    status: ConditionStatus
    reason: str
    message: str
    changed_at: _timestamp_pb2.Timestamp
    observed_revision: int
    def __init__(self, type: _Optional[str] = ..., status: _Optional[_Union[ConditionStatus, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., changed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., observed_revision: _Optional[int] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("json", "pickle", "ref")
    JSON_FIELD_NUMBER: _ClassVar[int]
    PICKLE_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    pickle: bytes
    ref: BlobRef
    def __init__(self, json: _Optional[bytes] = ..., pickle: _Optional[bytes] = ..., ref: _Optional[_Union[BlobRef, _Mapping]] = ...) -> None: ...

class BlobRef(_message.Message):
    __slots__ = ("digest", "size", "media")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size: int
    media: str
    def __init__(self, digest: _Optional[str] = ..., size: _Optional[int] = ..., media: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message", "traceback", "kind", "non_recoverable", "exception_pickle")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NON_RECOVERABLE_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_PICKLE_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    kind: FailureKind
    non_recoverable: bool
    exception_pickle: bytes
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., kind: _Optional[_Union[FailureKind, str]] = ..., non_recoverable: bool = ..., exception_pickle: _Optional[bytes] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpu", "memory", "disk", "gpu")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    cpu: float
    memory: int
    disk: int
    gpu: str
    def __init__(self, cpu: _Optional[float] = ..., memory: _Optional[int] = ..., disk: _Optional[int] = ..., gpu: _Optional[str] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("python_version", "requirements", "env_vars", "workdir", "lock", "lock_python", "index_options")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    LOCK_PYTHON_FIELD_NUMBER: _ClassVar[int]
    INDEX_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    python_version: str
    requirements: _containers.RepeatedScalarFieldContainer[str]
    env_vars: _containers.ScalarMap[str, str]
    workdir: str
    lock: _containers.RepeatedScalarFieldContainer[str]
    lock_python: str
    index_options: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, python_version: _Optional[str] = ..., requirements: _Optional[_Iterable[str]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., workdir: _Optional[str] = ..., lock: _Optional[_Iterable[str]] = ..., lock_python: _Optional[str] = ..., index_options: _Optional[_Iterable[str]] = ...) -> None: ...

class StorageUse(_message.Message):
    __slots__ = ("kind", "folder", "bytes", "count", "cap")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    kind: str
    folder: str
    bytes: int
    count: int
    cap: int
    def __init__(self, kind: _Optional[str] = ..., folder: _Optional[str] = ..., bytes: _Optional[int] = ..., count: _Optional[int] = ..., cap: _Optional[int] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("bundle", "module", "attribute", "sys_path", "imports")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    SYS_PATH_FIELD_NUMBER: _ClassVar[int]
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    bundle: str
    module: str
    attribute: str
    sys_path: _containers.RepeatedScalarFieldContainer[str]
    imports: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, bundle: _Optional[str] = ..., module: _Optional[str] = ..., attribute: _Optional[str] = ..., sys_path: _Optional[_Iterable[str]] = ..., imports: _Optional[_Iterable[str]] = ...) -> None: ...

class SecretRef(_message.Message):
    __slots__ = ("key", "group", "env_var", "mount")
    KEY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ENV_VAR_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    key: str
    group: str
    env_var: str
    mount: str
    def __init__(self, key: _Optional[str] = ..., group: _Optional[str] = ..., env_var: _Optional[str] = ..., mount: _Optional[str] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("project", "domain")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class Fence(_message.Message):
    __slots__ = ("epoch", "counter")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    counter: int
    def __init__(self, epoch: _Optional[int] = ..., counter: _Optional[int] = ...) -> None: ...
