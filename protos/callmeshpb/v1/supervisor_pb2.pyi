from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ZygoteOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ZYGOTE_OUTCOME_UNSPECIFIED: _ClassVar[ZygoteOutcome]
    ZYGOTE_OUTCOME_READY: _ClassVar[ZygoteOutcome]
    ZYGOTE_OUTCOME_IMPORT_FAILED: _ClassVar[ZygoteOutcome]
    ZYGOTE_OUTCOME_NOT_FORKABLE: _ClassVar[ZygoteOutcome]
ZYGOTE_OUTCOME_UNSPECIFIED: ZygoteOutcome
ZYGOTE_OUTCOME_READY: ZygoteOutcome
ZYGOTE_OUTCOME_IMPORT_FAILED: ZygoteOutcome
ZYGOTE_OUTCOME_NOT_FORKABLE: ZygoteOutcome

class SupervisorRequest(_message.Message):
    __slots__ = ("id", "start", "signal", "list", "forget", "shutdown")
    ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    SHUTDOWN_FIELD_NUMBER: _ClassVar[int]
    id: int
    start: StartProcess
    signal: SignalProcess
    list: ListProcesses
    forget: ForgetProcess
    shutdown: ShutdownSupervisor
    def __init__(self, id: _Optional[int] = ..., start: _Optional[_Union[StartProcess, _Mapping]] = ..., signal: _Optional[_Union[SignalProcess, _Mapping]] = ..., list: _Optional[_Union[ListProcesses, _Mapping]] = ..., forget: _Optional[_Union[ForgetProcess, _Mapping]] = ..., shutdown: _Optional[_Union[ShutdownSupervisor, _Mapping]] = ...) -> None: ...

class SupervisorReply(_message.Message):
    __slots__ = ("id", "error", "started", "list", "exited", "zygote", "supervisor_pid")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    ZYGOTE_FIELD_NUMBER: _ClassVar[int]
    SUPERVISOR_PID_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: str
    started: Process
    list: ProcessList
    exited: Process
    zygote: ZygoteState
    supervisor_pid: int
    def __init__(self, id: _Optional[int] = ..., error: _Optional[str] = ..., started: _Optional[_Union[Process, _Mapping]] = ..., list: _Optional[_Union[ProcessList, _Mapping]] = ..., exited: _Optional[_Union[Process, _Mapping]] = ..., zygote: _Optional[_Union[ZygoteState, _Mapping]] = ..., supervisor_pid: _Optional[int] = ...) -> None: ...

class ZygoteState(_message.Message):
    __slots__ = ("process_id", "outcome", "message", "traceback", "error_type", "import_seconds")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    IMPORT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    outcome: ZygoteOutcome
    message: str
    traceback: str
    error_type: str
    import_seconds: float
    def __init__(self, process_id: _Optional[str] = ..., outcome: _Optional[_Union[ZygoteOutcome, str]] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., error_type: _Optional[str] = ..., import_seconds: _Optional[float] = ...) -> None: ...

class ZygoteMessage(_message.Message):
    __slots__ = ("state", "forked")
    STATE_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    state: ZygoteState
    forked: ZygoteForked
    def __init__(self, state: _Optional[_Union[ZygoteState, _Mapping]] = ..., forked: _Optional[_Union[ZygoteForked, _Mapping]] = ...) -> None: ...

class ZygoteForked(_message.Message):
    __slots__ = ("id", "pid", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    pid: int
    error: str
    def __init__(self, id: _Optional[int] = ..., pid: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ZygoteFork(_message.Message):
    __slots__ = ("id", "start", "fds")
    ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    FDS_FIELD_NUMBER: _ClassVar[int]
    id: int
    start: bytes
    fds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., start: _Optional[bytes] = ..., fds: _Optional[_Iterable[str]] = ...) -> None: ...

class StartProcess(_message.Message):
    __slots__ = ("process_id", "spec_hash", "argv", "environment", "directory", "log_path", "listen", "pick_port", "zygote", "start", "restart", "is_zygote", "labels")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    LOG_PATH_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    PICK_PORT_FIELD_NUMBER: _ClassVar[int]
    ZYGOTE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    IS_ZYGOTE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    spec_hash: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    environment: _containers.ScalarMap[str, str]
    directory: str
    log_path: str
    listen: bool
    pick_port: bool
    zygote: str
    start: bytes
    restart: bool
    is_zygote: bool
    labels: _containers.ScalarMap[str, str]
    def __init__(self, process_id: _Optional[str] = ..., spec_hash: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., environment: _Optional[_Mapping[str, str]] = ..., directory: _Optional[str] = ..., log_path: _Optional[str] = ..., listen: bool = ..., pick_port: bool = ..., zygote: _Optional[str] = ..., start: _Optional[bytes] = ..., restart: bool = ..., is_zygote: bool = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SignalProcess(_message.Message):
    __slots__ = ("process_id", "signal", "group", "kill_after")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KILL_AFTER_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    signal: int
    group: bool
    kill_after: float
    def __init__(self, process_id: _Optional[str] = ..., signal: _Optional[int] = ..., group: bool = ..., kill_after: _Optional[float] = ...) -> None: ...

class ListProcesses(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ForgetProcess(_message.Message):
    __slots__ = ("process_id",)
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    def __init__(self, process_id: _Optional[str] = ...) -> None: ...

class ShutdownSupervisor(_message.Message):
    __slots__ = ("grace",)
    GRACE_FIELD_NUMBER: _ClassVar[int]
    grace: float
    def __init__(self, grace: _Optional[float] = ...) -> None: ...

class ProcessList(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    def __init__(self, processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("process_id", "spec_hash", "pid", "start_ticks", "port", "log_path", "labels", "running", "ended_at", "exit_status", "log_start", "started_at", "restarts", "peak_memory", "out_of_memory")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    LOG_PATH_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    EXIT_STATUS_FIELD_NUMBER: _ClassVar[int]
    LOG_START_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_MEMORY_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    spec_hash: str
    pid: int
    start_ticks: int
    port: int
    log_path: str
    labels: _containers.ScalarMap[str, str]
    running: bool
    ended_at: _timestamp_pb2.Timestamp
    exit_status: int
    log_start: int
    started_at: _timestamp_pb2.Timestamp
    restarts: int
    peak_memory: int
    out_of_memory: bool
    def __init__(self, process_id: _Optional[str] = ..., spec_hash: _Optional[str] = ..., pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., port: _Optional[int] = ..., log_path: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., running: bool = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., exit_status: _Optional[int] = ..., log_start: _Optional[int] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., restarts: _Optional[int] = ..., peak_memory: _Optional[int] = ..., out_of_memory: bool = ...) -> None: ...

class ProcessRecord(_message.Message):
    __slots__ = ("process", "argv", "directory", "restart", "is_zygote")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    IS_ZYGOTE_FIELD_NUMBER: _ClassVar[int]
    process: Process
    argv: _containers.RepeatedScalarFieldContainer[str]
    directory: str
    restart: bool
    is_zygote: bool
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., argv: _Optional[_Iterable[str]] = ..., directory: _Optional[str] = ..., restart: bool = ..., is_zygote: bool = ...) -> None: ...
