"""The control plane's methods, read off the service descriptors.

One table serves the server (what to register), the agent (what to forward) and
the client (how to call), so that no method is written down twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from callmeshpb.v1 import blob_pb2, log_pb2, node_pb2, registry_pb2, scheduler_pb2, secret_pb2

_FILES = (registry_pb2, scheduler_pb2, node_pb2, blob_pb2, log_pb2, secret_pb2)


# What workloads may call, through their node's agent.
WORKLOAD_METHODS = frozenset(
    {
        *(
            f"SchedulerService/{name}"
            for name in (
                "Submit", "RunTask", "GetRun", "WatchRun", "ListRuns", "AbortRun", "GetTask",
                "ListTasks", "GetApp", "ListApps", "WatchApp", "UpdateApp", "GetServer",
            )
        ),
        "RegistryService/Resolve",
        "RegistryService/Watch",
        "RegistryService/ListServices",
        "LogService/TailLogs",
        "BlobService/FindMissing",
        "BlobService/Upload",
        "BlobService/Download",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool

    @property
    def path(self) -> str:
        """As gRPC names it: ``/callmeshpb.v1.SchedulerService/GetRun``."""
        return f"/callmeshpb.v1.{self.service}/{self.name}"

    @property
    def handler(self) -> str:
        """The name of the handler's attribute: ``get_run``."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in self.name).lstrip("_")


@cache
def methods() -> dict[str, Method]:
    """Every method by ``Service/Name``."""
    table = {}
    for module in _FILES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for each in service.methods:
                table[f"{service.name}/{each.name}"] = Method(
                    service=service.name,
                    name=each.name,
                    request=GetMessageClass(each.input_type),
                    response=GetMessageClass(each.output_type),
                    client_streaming=each.client_streaming,
                    server_streaming=each.server_streaming,
                )
    return table
