"""What each kind of caller gets of a service's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmesh_agent.xds import policy
from callmesh_agent.xds.policy import CallPolicy
from callmeshpb.v1 import common_pb2

if TYPE_CHECKING:
    from conftest import World


def test_only_idempotent_methods_are_repeated_after_an_answer(world: World) -> None:
    first, rest = policy.http_routes(CallPolicy.of(world.add("shop")))
    assert first["match"]["headers"][0]["name"] == ":method"
    assert "POST" not in first["match"]["headers"][0]["string_match"]["safe_regex"]["regex"]
    assert "reset," in first["route"]["retry_policy"]["retry_on"]
    assert set(rest["route"]["retry_policy"]["retry_on"].split(",")) == {
        "connect-failure",
        "refused-stream",
        "reset-before-request",
        "retriable-headers",
    }


def test_ejected_instances_are_called_only_where_nothing_else_is_left() -> None:
    cluster = policy.cluster_policy(common_pb2.PROTOCOL_HTTP)
    assert cluster["common_lb_config"]["healthy_panic_threshold"]["value"] == 1
    assert cluster["outlier_detection"]["max_ejection_percent"] == 100


def test_without_a_request_timeout_a_response_may_last(world: World) -> None:
    view = world.add("shop")
    assert CallPolicy.of(view).request_timeout == 0
    assert policy.http_routes(CallPolicy.of(view))[0]["route"]["timeout"] == "0.000000000s"
    assert "max_stream_duration" not in policy.grpc_routes(CallPolicy.of(view))[0]["route"]


def test_request_timeout_is_told_to_both_kinds_of_caller(world: World) -> None:
    view = world.add("shop")
    view.timeouts.request.FromMilliseconds(1500)
    declared = CallPolicy.of(view)
    assert policy.http_routes(declared)[1]["route"]["timeout"] == "1.500000000s"
    assert policy.grpc_routes(declared)[0]["route"]["max_stream_duration"] == {
        "max_stream_duration": "1.500000000s"
    }


def test_sentences_name_the_app_as_the_command_line_does(world: World) -> None:
    view = world.add("shop")
    view.service.mesh_name = "shop--production--acme"
    view.service.domain, view.service.project = "production", "acme"
    route = policy.http_routes(CallPolicy.of(view))[0]
    assert route["metadata"]["filter_metadata"]["callmesh"]["state"] == (
        "see `callmesh describe app shop --project acme --domain production`"
    )


def test_affinity_that_grpc_callers_do_not_get_is_told(world: World) -> None:
    assert policy.gaps(world.add("shop", cookie_affinity=True)) == []
    [gap] = policy.gaps(world.add("greet", cookie_affinity=True, grpc=True))
    assert "not for `xds:///` callers" in gap
