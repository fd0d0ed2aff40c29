from callmeshpb.v1 import common_pb2 as _common_pb2
from callmeshpb.v1 import node_pb2 as _node_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkloadMessage(_message.Message):
    __slots__ = ("hello", "call", "data", "cancel", "attempt")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    hello: WorkloadHello
    call: WorkloadCall
    data: WorkloadCallData
    cancel: WorkloadCallCancel
    attempt: _node_pb2.AttemptReport
    def __init__(self, hello: _Optional[_Union[WorkloadHello, _Mapping]] = ..., call: _Optional[_Union[WorkloadCall, _Mapping]] = ..., data: _Optional[_Union[WorkloadCallData, _Mapping]] = ..., cancel: _Optional[_Union[WorkloadCallCancel, _Mapping]] = ..., attempt: _Optional[_Union[_node_pb2.AttemptReport, _Mapping]] = ...) -> None: ...

class WorkloadReply(_message.Message):
    __slots__ = ("welcome", "reply", "prepare", "go", "ack")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    GO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    welcome: WorkloadWelcome
    reply: WorkloadCallReply
    prepare: _node_pb2.AttemptOrder
    go: _node_pb2.AttemptGo
    ack: _node_pb2.AttemptAck
    def __init__(self, welcome: _Optional[_Union[WorkloadWelcome, _Mapping]] = ..., reply: _Optional[_Union[WorkloadCallReply, _Mapping]] = ..., prepare: _Optional[_Union[_node_pb2.AttemptOrder, _Mapping]] = ..., go: _Optional[_Union[_node_pb2.AttemptGo, _Mapping]] = ..., ack: _Optional[_Union[_node_pb2.AttemptAck, _Mapping]] = ...) -> None: ...

class WorkloadHello(_message.Message):
    __slots__ = ("instance_id", "worker_id", "attempt", "calls_only")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CALLS_ONLY_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    worker_id: str
    attempt: _node_pb2.AttemptReport
    calls_only: bool
    def __init__(self, instance_id: _Optional[str] = ..., worker_id: _Optional[str] = ..., attempt: _Optional[_Union[_node_pb2.AttemptReport, _Mapping]] = ..., calls_only: bool = ...) -> None: ...

class WorkloadWelcome(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class WorkloadCall(_message.Message):
    __slots__ = ("id", "method", "payload", "streaming", "authorization")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    id: int
    method: str
    payload: bytes
    streaming: bool
    authorization: str
    def __init__(self, id: _Optional[int] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ..., streaming: bool = ..., authorization: _Optional[str] = ...) -> None: ...

class WorkloadCallData(_message.Message):
    __slots__ = ("id", "payload", "end")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    id: int
    payload: bytes
    end: bool
    def __init__(self, id: _Optional[int] = ..., payload: _Optional[bytes] = ..., end: bool = ...) -> None: ...

class WorkloadCallCancel(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class WorkloadCallReply(_message.Message):
    __slots__ = ("id", "payload", "end", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: int
    payload: bytes
    end: bool
    status: CallStatus
    def __init__(self, id: _Optional[int] = ..., payload: _Optional[bytes] = ..., end: bool = ..., status: _Optional[_Union[CallStatus, _Mapping]] = ...) -> None: ...

class CallStatus(_message.Message):
    __slots__ = ("code", "message", "reason", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WorkloadStart(_message.Message):
    __slots__ = ("app", "worker", "zygote", "environment", "directory", "workdir")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    APP_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ZYGOTE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    WORKDIR_FIELD_NUMBER: _ClassVar[int]
    app: AppStart
    worker: WorkerStart
    zygote: ZygoteStart
    environment: _containers.ScalarMap[str, str]
    directory: str
    workdir: str
    def __init__(self, app: _Optional[_Union[AppStart, _Mapping]] = ..., worker: _Optional[_Union[WorkerStart, _Mapping]] = ..., zygote: _Optional[_Union[ZygoteStart, _Mapping]] = ..., environment: _Optional[_Mapping[str, str]] = ..., directory: _Optional[str] = ..., workdir: _Optional[str] = ...) -> None: ...

class ZygoteStart(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: _common_pb2.Code
    def __init__(self, code: _Optional[_Union[_common_pb2.Code, _Mapping]] = ...) -> None: ...

class AppStart(_message.Message):
    __slots__ = ("instance_id", "code", "listen_fd")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FD_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    code: _common_pb2.Code
    listen_fd: int
    def __init__(self, instance_id: _Optional[str] = ..., code: _Optional[_Union[_common_pb2.Code, _Mapping]] = ..., listen_fd: _Optional[int] = ...) -> None: ...

class WorkerStart(_message.Message):
    __slots__ = ("worker_id", "code")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    code: _common_pb2.Code
    def __init__(self, worker_id: _Optional[str] = ..., code: _Optional[_Union[_common_pb2.Code, _Mapping]] = ...) -> None: ...
