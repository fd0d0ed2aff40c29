"""Views and snapshots in few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from callmesh_agent.xds.snapshot import (
    Ingress,
    LocalInstance,
    LocalTruth,
    Snapshot,
    compile_snapshot,
)
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2

INGRESS = Ingress("127.0.0.1", 7480, "/run/web.sock")


class World:
    """A view of a few services, each with instances on this node, compiled on demand."""

    def __init__(self) -> None:
        self.services: dict[str, node_pb2.ServiceView] = {}
        self.instances: dict[str, LocalInstance] = {}
        self.node = "here"
        self.zone = "a"
        self.snapshot: Snapshot | None = None

    def add(self, name: str, *instances: str, **options: Any) -> node_pb2.ServiceView:
        """A service with ready instances on this node; an instance's port follows its name."""
        grpc = options.pop("grpc", False)
        view = node_pb2.ServiceView(
            service=registry_pb2.Service(
                project="default",
                domain="development",
                name=name,
                mesh_name=name,
                mesh_port=options.pop("mesh_port", 20001 + len(self.services)),
                protocol=common_pb2.PROTOCOL_GRPC if grpc else common_pb2.PROTOCOL_HTTP,
            ),
            **options,
        )
        self.services[name] = view
        for instance in instances:
            self.endpoint(name, instance)
            port = 40000 + sum(instance.encode())
            self.instances[instance] = LocalInstance("127.0.0.1", port, ready=True)
        return view

    def endpoint(self, service: str, instance: str, **fields: Any) -> registry_pb2.Endpoint:
        """One more endpoint of a service, on this node unless ``fields`` say otherwise."""
        defaults: Mapping[str, Any] = {
            "instance_id": instance,
            "node": self.node,
            "zone": self.zone,
            "address": "10.0.0.1",
            "port": 9000,
            "health": registry_pb2.ENDPOINT_HEALTH_READY,
        }
        return self.services[service].service.endpoints.add(**{**defaults, **fields})

    @property
    def view(self) -> node_pb2.MeshView:
        return node_pb2.MeshView(version=1, services=self.services.values())

    @property
    def local(self) -> LocalTruth:
        return LocalTruth(self.node, self.zone, self.instances)

    def compile(self, ingress: Ingress = INGRESS) -> Snapshot:
        """The next snapshot, compiled on top of the last one."""
        version = self.snapshot.version + 1 if self.snapshot else 1
        self.snapshot = compile_snapshot(self.view, self.local, ingress, version, self.snapshot)
        return self.snapshot


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> Callable[[], World]:
    return World
