"""Nodes that fall silent: one by one they are given up, all at once they are waited for."""

from __future__ import annotations

import pytest
from core_world import LEASE, Core, app_spec, endpoints, hello

from callmesh_server.core import actions as do
from callmesh_server.core import joining, liveness


@pytest.fixture
def three() -> Core:
    core = Core()
    for name in ("n1", "n2", "n3"):
        core.join(name)
    core.deploy(app_spec(min_replicas=3))
    core.ready("web")
    return core


def lost(core: Core) -> list[str]:
    return sorted(name for name, state in core.world.nodes.items() if state.lost)


def pass_time(core: Core, seconds: float, *heard: str) -> None:
    """Time goes by in which these nodes say three times a lease that they live."""
    until = core.now + seconds
    while core.now < until:
        core.advance(LEASE / 3)
        for name in heard:
            core.renew(name)


def test_a_node_that_alone_falls_silent_is_given_up(three: Core) -> None:
    three.leave("n1")
    pass_time(three, LEASE + 1, "n2", "n3")
    assert lost(three) == ["n1"]


def test_two_of_three_are_given_up_while_the_third_is_heard(three: Core) -> None:
    pass_time(three, LEASE + 1, "n3")
    assert lost(three) == ["n1", "n2"]


def test_nodes_that_fall_silent_at_once_are_waited_for(three: Core) -> None:
    before = endpoints(three)
    for name in ("n1", "n2", "n3"):
        three.renew(name)
        three.advance(1)
        three.leave(name)
    pass_time(three, 10 * LEASE)
    assert lost(three) == []
    assert endpoints(three) == before
    assert len(three.instances("web")) == 3


def test_once_one_is_heard_again_the_others_have_time_to_come_back(three: Core) -> None:
    pass_time(three, 5 * LEASE)
    three.join("n2", complete=False)
    pass_time(three, LEASE / 3, "n2")
    assert lost(three) == []
    three.join("n3", complete=False)
    pass_time(three, LEASE + 1, "n2", "n3")
    assert lost(three) == ["n1"]


def test_the_only_node_is_given_up_when_it_falls_silent() -> None:
    core = Core()
    core.join("n1")
    pass_time(core, LEASE + 1)
    assert lost(core) == ["n1"]


def test_a_server_that_starts_waits_for_the_first_node_and_then_a_lease() -> None:
    core = Core()
    for name in ("n1", "n2"):
        core.join(name)
        state = core.world.nodes[name]
        core.perform([do.PutNode(liveness.remembered(state.record, core.now, LEASE))])
    pass_time(core, 3 * LEASE)
    assert lost(core) == []
    core.join("n1")
    pass_time(core, LEASE + 1, "n1")
    assert lost(core) == ["n2"]


def test_a_name_is_free_after_a_lease_though_nobody_is_heard(three: Core) -> None:
    said = hello("n1")
    said.protocol_version, said.key = 1, "another machine's"
    known = three.world.nodes["n1"]
    known.record.key_digest = b"the first one's"
    assert "another machine" in joining.refusal(said, three.world, three.now)
    pass_time(three, 2 * LEASE)
    assert lost(three) == []
    assert joining.refusal(said, three.world, three.now) == ""
