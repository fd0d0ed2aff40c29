"""The ports on which other nodes call this one's instances."""

from __future__ import annotations

import socket

import pytest

from callmesh_agent.inbound_ports import KEPT, PORTS, InboundPorts
from callmesh_wire.errors import FailedPreconditionError

ADDRESS = "127.0.0.1"


def test_more_instances_than_ports_come_and_go():
    inbound = InboundPorts(ADDRESS)
    given = [inbound.give(f"web-{number}") for number in range(len(PORTS) + 500)]
    assert set(given) <= set(PORTS)
    newest = given[-KEPT:]
    assert len(set(newest)) == len(newest)


def test_an_instance_has_its_port_again_where_nobody_took_it():
    inbound = InboundPorts(ADDRESS)
    port = inbound.give("web")
    assert inbound.give("web") == port
    with socket.create_server((ADDRESS, port)):
        other = inbound.give("web")
    assert other != port


def test_the_next_agent_gives_the_ports_of_before():
    port = InboundPorts(ADDRESS).give("web")
    inbound = InboundPorts(ADDRESS)
    inbound.remember({"web": port})
    assert inbound.give("web") == port


def test_a_node_without_an_address_has_none():
    assert InboundPorts("").give("web") == 0


def test_an_address_that_is_not_this_machines_is_said():
    with pytest.raises(FailedPreconditionError, match=r"`192\.0\.2\.1`.*`--address`"):
        InboundPorts("192.0.2.1").give("web")
