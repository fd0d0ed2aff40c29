"""Build hook: the descriptors of the Envoy messages that the agent speaks.

`xds-protos` overwrites files of other packages (opentelemetry, google/api), so
it must never be installed beside user code. It is needed here only, in the
build's own environment: the transitive descriptors of `ROOTS` become one
FileDescriptorSet in the package, which the agent loads into a private pool
(`callmesh_agent.xds.descriptors`). The file is written for wheels and for
editable installs, and git ignores it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from google.protobuf import descriptor, descriptor_pb2
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = Path("agent/callmesh_agent/xds/envoy.binpb")
ROOTS = (
    "envoy/config/bootstrap/v3/bootstrap",
    "envoy/config/cluster/v3/cluster",
    "envoy/config/endpoint/v3/endpoint",
    "envoy/config/listener/v3/listener",
    "envoy/config/route/v3/route",
    "envoy/config/trace/v3/opentelemetry",
    "envoy/extensions/access_loggers/file/v3/file",
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service",
    "envoy/extensions/access_loggers/stream/v3/stream",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz",
    "envoy/extensions/filters/http/fault/v3/fault",
    "envoy/extensions/filters/http/jwt_authn/v3/config",
    "envoy/extensions/filters/http/rbac/v3/rbac",
    "envoy/extensions/filters/http/router/v3/router",
    "envoy/extensions/filters/http/stateful_session/v3/stateful_session",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager",
    "envoy/extensions/http/stateful_session/cookie/v3/cookie",
    "envoy/extensions/request_id/uuid/v3/uuid",
    "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections",
    "envoy/extensions/retry/host/omit_host_metadata/v3/omit_host_metadata_config",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts",
    "envoy/extensions/transport_sockets/tls/v3/tls",
    "envoy/extensions/upstreams/http/v3/http_protocol_options",
    "envoy/service/discovery/v3/ads",
    "envoy/service/discovery/v3/discovery",
    "envoy/service/status/v3/csds",
)


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatch calls before it packs a wheel or makes an editable install."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Write the descriptor set where the package keeps it."""
        target = Path(self.root) / TARGET
        content = descriptor_set()
        # An editable install is read by running agents: replace it in one step.
        fresh = target.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(target)


def descriptor_set() -> bytes:
    """The serialized FileDescriptorSet of `ROOTS`, every import before its importer."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for root in ROOTS:
        module = import_module(root.replace("/", ".") + "_pb2")
        _collect(module.DESCRIPTOR, found)
    files = descriptor_pb2.FileDescriptorSet(file=found.values())
    return files.SerializeToString(deterministic=True)


def _collect(
    file: descriptor.FileDescriptor, found: dict[str, descriptor_pb2.FileDescriptorProto]
) -> None:
    if file.name in found:
        return
    for dependency in file.dependencies:
        _collect(dependency, found)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    found[file.name] = proto
