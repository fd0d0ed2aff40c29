"""Deltas of the mesh view: whoever follows them has the whole view."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.core import viewlog
from callmesh_server.core.viewlog import ViewLog, tag_of
from callmeshpb.v1.node_pb2 import MeshDelta, MeshView, ServiceView
from callmeshpb.v1.registry_pb2 import Service

NAMES = ["a", "b", "c", "d"]
# Of each round: services with a content, or gone.
PUTS = st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(1, 3), max_size=3)


def service(name: str, port: int) -> ServiceView:
    return ServiceView(service=Service(mesh_name=name, mesh_port=port))


def put(log: ViewLog, puts: dict[str, int | None]) -> bool:
    news = [log.put(n, service(n, port) if port else None) for n, port in puts.items()]
    return any(news)


def followed(held: MeshView, delta: MeshDelta) -> MeshView:
    """By the contract's words, with dictionaries."""
    assert delta.from_version == held.version
    services = {each.service.mesh_name: each for each in held.services}
    for name in delta.removed:
        services.pop(name, None)
    services |= {each.service.mesh_name: each for each in delta.changed}
    ordered = [services[name] for name in sorted(services)]
    return MeshView(version=delta.version, services=ordered)


@given(st.lists(PUTS, max_size=12), st.integers(0, 2))
def test_a_delta_from_any_version_makes_the_whole(
    rounds: list[dict[str, int | None]], remembered: int
) -> None:
    most, viewlog.MOST_REMOVED = viewlog.MOST_REMOVED, remembered
    try:
        log, seen = ViewLog(), []
        truth: dict[str, int] = {}
        for version, puts in enumerate(rounds, start=1):
            put(log, puts)
            log.commit(version)
            truth |= {name: port for name, port in puts.items() if port}
            for name in (name for name, port in puts.items() if not port):
                truth.pop(name, None)
            seen.append(log.whole())
            ports = {s.service.mesh_name: s.service.mesh_port for s in seen[-1].services}
            assert ports == truth
            for before in seen:
                delta = log.delta(before.version)
                if delta is not None:
                    assert followed(before, delta) == seen[-1]
                tags = {each.service.mesh_name: each.tag for each in before.services}
                assert followed(before, log.delta_to(tags, before.version)) == seen[-1]
            # Whoever is up to date can always go on.
            assert log.delta(version) == MeshDelta(from_version=version, version=version)
    finally:
        viewlog.MOST_REMOVED = most


def test_a_delta_names_what_changed_and_nothing_else() -> None:
    log = ViewLog()
    put(log, {"a": 1, "b": 1, "c": 1})
    log.commit(10)
    put(log, {"b": 2, "c": None})
    assert log.whole().version == 10
    assert log.delta(10) == MeshDelta(from_version=10, version=10), "not before the commit"
    log.commit(11)
    put(log, {"a": 3})
    log.commit(12)
    delta = log.delta(11)
    assert delta is not None
    assert [each.service.mesh_name for each in delta.changed] == ["a"]
    assert not delta.removed
    delta = log.delta(10)
    assert delta is not None
    assert [each.service.mesh_name for each in delta.changed] == ["a", "b"]
    assert delta.removed == ["c"]
    assert log.delta(13) is None, "of another server's life"
    assert log.delta(0) is None


def test_what_is_put_again_is_no_news() -> None:
    log = ViewLog()
    assert put(log, {"a": 1})
    assert not put(log, {"a": 1})
    log.commit(1)
    assert not put(log, {"a": 1, "b": None})
    assert put(log, {"a": 2})
    # Back before anybody was told: what goes out is what holds.
    assert put(log, {"a": 1})
    log.commit(2)
    assert [each.service.mesh_port for each in log.whole().services] == [1]


def test_a_tag_is_of_the_content_alone() -> None:
    one, other = service("a", 1), service("a", 1)
    one.tag = 77
    assert tag_of(one) == tag_of(other) != tag_of(service("a", 2))
