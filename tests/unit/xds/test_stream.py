"""The stream's order, with a client that answers as Envoy and gRPC were seen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from callmesh_agent.xds.ingress import INGRESS, PAGES
from callmesh_agent.xds.snapshot import LocalInstance
from callmesh_agent.xds.stream import Client, Push, Stream

if TYPE_CHECKING:
    from conftest import World


class Peer:
    """The other end: keeps what it was pushed, and says what passed."""

    def __init__(self, agent: str = "envoy") -> None:
        self.stream = Stream()
        self.agent = agent
        self.nonces: dict[str, str] = {}
        self.names: dict[str, list[str]] = {}

    def ask(self, kind: str, *names: str) -> list[str]:
        """Subscribe; what is pushed."""
        self.names[kind] = list(names)
        return self.say(kind)

    def ack(self, kind: str, error: str = "") -> list[str]:
        """Answer the last push of a type; what is pushed then."""
        return self.say(kind, error)

    def say(self, kind: str, error: str = "") -> list[str]:
        request: Any = descriptors.message_class(descriptors.DISCOVERY_REQUEST)(
            type_url=descriptors.TYPE_PREFIX + kind,
            resource_names=self.names[kind],
            response_nonce=self.nonces.get(kind, ""),
        )
        if self.agent:
            # Only a stream's first request carries it.
            request.node.user_agent_name, self.agent = self.agent, ""
        if error:
            request.error_detail.message = error
        self.stream.receive(request)
        return self.due()

    def due(self) -> list[str]:
        return [self._take(push) for push in self.stream.due()]

    def _take(self, push: Push) -> str:
        self.nonces[push.kind] = push.nonce
        names = " ".join(sorted(item.name for item in push.resources))
        return f"{push.kind.rpartition('.')[2]}: {names}"


def started(world: World) -> Peer:
    """An Envoy that has taken a first snapshot."""
    peer = Peer()
    peer.stream.set_target(world.compile())
    names = list(world.services)
    peer.ask(CLUSTER)
    peer.ask(ENDPOINTS, *names)
    peer.ack(ENDPOINTS)
    peer.ack(CLUSTER)
    peer.ask(LISTENER)
    peer.ask(ROUTES, INGRESS, *names)
    peer.ack(LISTENER)
    peer.ack(ROUTES)
    return peer


def test_envoy_that_starts_gets_what_it_asks_for(world: World) -> None:
    world.add("shop", "one")
    peer = Peer()
    assert peer.ask(CLUSTER) == []
    peer.stream.set_target(world.compile())
    assert peer.due() == [f"Cluster: {PAGES} shop"]
    assert peer.ask(ENDPOINTS, "shop") == ["ClusterLoadAssignment: shop"]
    assert peer.ack(CLUSTER) == []
    # Listeners wait for the endpoints' answer.
    assert peer.ask(LISTENER) == []
    assert peer.ack(ENDPOINTS) == [f"Listener: {INGRESS} shop"]
    assert peer.ask(ROUTES, "shop", INGRESS) == [f"RouteConfiguration: {INGRESS} shop"]
    assert peer.ack(LISTENER) == []
    assert peer.ack(ROUTES) == []
    assert peer.due() == []


def test_what_did_not_change_is_not_pushed_again(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    peer.stream.set_target(world.compile())
    assert peer.due() == []
    assert peer.stream.endpoints_version == 2


def test_change_of_one_endpoint_pushes_one_assignment(world: World) -> None:
    world.add("shop", "one")
    world.add("other", "two")
    peer = started(world)
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == ["ClusterLoadAssignment: shop"]
    assert peer.stream.endpoints_version == 1
    assert peer.ack(ENDPOINTS) == []
    assert peer.stream.endpoints_version == 2


def test_new_service_is_made_before_it_is_used(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.add("new", "two")
    peer.stream.set_target(world.compile())
    assert peer.due() == [f"Cluster: {PAGES} new shop"]
    # Envoy acks clusters once the new one has its endpoints.
    assert peer.ask(ENDPOINTS, "shop", "new") == ["ClusterLoadAssignment: new"]
    assert peer.ack(ENDPOINTS) == []
    assert peer.ack(CLUSTER) == [f"Listener: {INGRESS} new shop", f"RouteConfiguration: {INGRESS}"]
    assert peer.ask(ROUTES, INGRESS, "shop", "new") == ["RouteConfiguration: new"]


def test_service_that_goes_is_broken_last(world: World) -> None:
    world.add("shop", "one")
    world.add("old", "two")
    peer = started(world)
    del world.services["old"]
    peer.stream.set_target(world.compile())
    assert peer.due() == [f"Listener: {INGRESS} shop", f"RouteConfiguration: {INGRESS}"]
    assert peer.ack(LISTENER) == []
    assert peer.ack(ROUTES) == [f"Cluster: {PAGES} shop"]
    assert peer.ask(ENDPOINTS, "shop") == []
    assert peer.ack(CLUSTER) == []


def test_changed_cluster_gets_its_endpoints_again(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.services["shop"].service.protocol = world.add("greet", grpc=True).service.protocol
    del world.services["greet"]
    peer.stream.set_target(world.compile())
    assert peer.due() == [f"Cluster: {PAGES} shop", "ClusterLoadAssignment: shop"]


def test_service_taken_back_while_envoy_waits_for_its_endpoints(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.add("new", "two")
    peer.stream.set_target(world.compile())
    assert peer.due() == [f"Cluster: {PAGES} new shop"]
    del world.services["new"]
    peer.stream.set_target(world.compile())
    assert peer.due() == []
    assert peer.ask(ENDPOINTS, "shop", "new") == ["ClusterLoadAssignment: new"]
    assert peer.ack(ENDPOINTS) == []
    assert peer.ack(CLUSTER) == [f"Cluster: {PAGES} shop"]


def test_slow_client_gets_the_newest_in_one_push(world: World) -> None:
    world.add("shop", "one", "two")
    peer = started(world)
    for port in (1, 2, 3):
        world.instances["one"] = LocalInstance("127.0.0.1", port, ready=True)
        peer.stream.set_target(world.compile())
        assert peer.due() == (["ClusterLoadAssignment: shop"] if port == 1 else [])
    assert peer.ack(ENDPOINTS) == ["ClusterLoadAssignment: shop"]
    assert peer.stream.endpoints_version == 1
    assert peer.ack(ENDPOINTS) == []
    assert peer.stream.endpoints_version == 4


def test_answer_to_an_older_push_is_no_ack(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
    stale = peer.nonces[ENDPOINTS]
    peer.stream.set_target(world.compile())
    peer.due()
    current, peer.nonces[ENDPOINTS] = peer.nonces[ENDPOINTS], stale
    assert peer.ack(ENDPOINTS) == []
    assert peer.stream.endpoints_version == 1
    peer.nonces[ENDPOINTS] = current
    peer.ack(ENDPOINTS)
    assert peer.stream.endpoints_version == 2


def test_rejection_names_the_resource_and_ends_with_an_ack(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.add("taken")
    peer.stream.set_target(world.compile())
    peer.due()
    peer.ask(ENDPOINTS, "shop", "taken")
    peer.ack(ENDPOINTS)
    peer.ack(CLUSTER)
    assert peer.ack(LISTENER, "Error adding/updating listener(s) taken: cannot bind 'x'\n") == []
    [rejection] = peer.stream.rejections
    assert (rejection.client, rejection.type, rejection.name) == ("envoy", "Listener", "taken")
    assert (rejection.message, rejection.version) == ("cannot bind 'x'", 2)
    # It is not sent again by itself, but may be asked for.
    assert peer.due() == []
    peer.stream.retry_rejected()
    assert peer.due() == [f"Listener: {INGRESS} shop taken"]
    assert peer.stream.rejections == [rejection]
    # A client that is slower than the retries still says which one it refuses.
    peer.stream.retry_rejected()
    assert peer.due() == []
    assert peer.ack(LISTENER, "taken: cannot bind 'x'") == []
    assert [each.name for each in peer.stream.rejections] == ["taken"]
    peer.stream.retry_rejected()
    assert peer.due() == [f"Listener: {INGRESS} shop taken"]
    peer.ack(LISTENER)
    assert peer.stream.rejections == []


def test_endpoints_that_are_rejected_do_not_count_as_taken(world: World) -> None:
    world.add("shop", "one")
    peer = started(world)
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
    peer.stream.set_target(world.compile())
    peer.due()
    peer.ack(ENDPOINTS, "shop: malformed")
    assert peer.stream.endpoints_version == 1
    world.instances["one"] = LocalInstance("127.0.0.1", 2, ready=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == ["ClusterLoadAssignment: shop"]
    peer.ack(ENDPOINTS)
    assert peer.stream.endpoints_version == 3


def grpc_client() -> Peer:
    return Peer("gRPC C-core linux")


def test_grpc_client_gets_what_it_names(world: World) -> None:
    world.add("greet", "one", grpc=True)
    world.add("other", "two", grpc=True)
    peer = grpc_client()
    peer.stream.set_target(world.compile())
    assert peer.ask(LISTENER, "greet") == ["Listener: greet"]
    assert peer.stream.client is Client.GRPC
    assert peer.ask(CLUSTER, "greet") == ["Cluster: greet"]
    assert peer.ask(ENDPOINTS, "greet") == ["ClusterLoadAssignment: greet"]
    for kind in (LISTENER, CLUSTER, ENDPOINTS):
        assert peer.ack(kind) == []
    # Another channel of the same process: listeners come whole, the rest does not.
    assert peer.ask(LISTENER, "greet", "other") == ["Listener: greet other"]
    assert peer.ask(ENDPOINTS, "greet", "other") == ["ClusterLoadAssignment: other"]


def test_grpc_client_is_told_of_changes_to_what_it_named_alone(world: World) -> None:
    world.add("greet", "one", grpc=True)
    world.add("other", "two", grpc=True)
    peer = grpc_client()
    peer.stream.set_target(world.compile())
    peer.ask(LISTENER, "greet")
    peer.ask(CLUSTER, "greet")
    peer.ask(ENDPOINTS, "greet")
    for kind in (LISTENER, CLUSTER, ENDPOINTS):
        peer.ack(kind)
    world.instances["two"] = LocalInstance("127.0.0.1", 1, ready=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == []
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == ["ClusterLoadAssignment: greet"]


def test_grpc_client_hears_nothing_of_a_name_that_does_not_exist_until_it_does(
    world: World,
) -> None:
    peer = grpc_client()
    peer.stream.set_target(world.compile())
    assert peer.ask(LISTENER, "greet") == []
    world.add("greet", grpc=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == ["Listener: greet"]
    peer.ack(LISTENER)
    del world.services["greet"]
    peer.stream.set_target(world.compile())
    assert peer.due() == ["Listener: "]


def test_grpc_client_that_names_nothing_any_more_gets_nothing(world: World) -> None:
    world.add("greet", grpc=True)
    peer = grpc_client()
    peer.stream.set_target(world.compile())
    peer.ask(LISTENER, "greet")
    assert peer.ack(LISTENER) == []
    assert peer.ask(LISTENER) == []
    world.add("other", grpc=True)
    peer.stream.set_target(world.compile())
    assert peer.due() == []


def test_types_that_we_do_not_serve_are_left_unanswered(world: World) -> None:
    peer = Peer()
    peer.stream.set_target(world.compile())
    assert peer.ask("envoy.extensions.transport_sockets.tls.v3.Secret", "x") == []
