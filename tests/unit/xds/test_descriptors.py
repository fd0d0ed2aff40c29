"""The private pool of Envoy's messages."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool, json_format

from callmesh_agent.xds import descriptors


def test_messages_are_in_a_pool_of_their_own() -> None:
    descriptors.message_class(descriptors.LISTENER)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(descriptors.LISTENER)


def test_nothing_of_xds_protos_is_installed() -> None:
    from importlib import metadata

    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("xds-protos")


def test_build_refuses_a_field_that_envoy_does_not_know() -> None:
    with pytest.raises(json_format.ParseError, match="no_such_field"):
        descriptors.build(descriptors.CLUSTER, {"name": "a", "no_such_field": 1})


def test_build_resolves_types_in_the_pool_and_as_dict_shows_them() -> None:
    kind = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    value = {"name": "x", "typed_config": {"@type": kind, "suppress_envoy_headers": True}}
    message = descriptors.build("envoy.config.core.v3.TypedExtensionConfig", value)
    assert descriptors.as_dict(message) == value


def test_copy_is_equal_and_independent() -> None:
    first = descriptors.build(descriptors.CLUSTER, {"name": "a"})
    second = descriptors.copy(first)
    assert first == second
    second.name = "b"
    assert first.name == "a"


@pytest.mark.parametrize(
    "name",
    [
        descriptors.BOOTSTRAP,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "envoy.service.status.v3.ClientStatusResponse",
    ],
)
def test_messages_of_the_mesh_are_there(name: str) -> None:
    assert descriptors.message_class(name)() == descriptors.message_class(name)()
