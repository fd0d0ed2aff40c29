"""Envoy's messages, in a pool of their own.

The descriptor set in the package (written by `deploy/hatch_build.py`) is
loaded into a private pool, so that nothing here meets the `envoy`, `google`
or `opentelemetry` messages of user code. Loading takes about 5 ms, once.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

FILE = "envoy.binpb"
TYPE_PREFIX = "type.googleapis.com/"

CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
KINDS = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ANY = "google.protobuf.Any"
DISCOVERY_REQUEST = "envoy.service.discovery.v3.DiscoveryRequest"
DISCOVERY_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The private pool. Raises FileNotFoundError where the package was not built."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files(__package__).joinpath(FILE).read_bytes()
    )
    private = descriptor_pool.DescriptorPool()
    for file in files.file:
        private.AddSerializedFile(file.SerializeToString())
    return private


@cache
def message_class(name: str) -> Any:
    """The class of a message by its full name. Raises KeyError for an unknown one.

    What its fields are is known at run time only, to type checkers neither.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def build(name: str, value: dict[str, Any]) -> Any:
    """The message called ``name`` from Envoy's documented JSON form.

    Raises json_format.ParseError for a field that Envoy does not know.
    """
    return json_format.ParseDict(value, message_class(name)(), descriptor_pool=pool())


def copy(message: Message) -> Any:
    """A message equal to this one, to be changed."""
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def as_dict(message: Message) -> dict[str, Any]:
    """A message's JSON form with Envoy's own field names."""
    value: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, descriptor_pool=pool()
    )
    return value
