"""The ports on which other nodes call this one's instances."""

from __future__ import annotations

import os
import socket

import pytest

from callmesh_agent import ports
from callmesh_agent.config import AgentSettings
from callmesh_agent.environments import Environments
from callmesh_agent.starts import Starts
from callmesh_agent.workspace import Workspace
from callmesh_wire.errors import FailedPreconditionError

ADDRESS = "127.0.0.1"


@pytest.fixture
def starts(tmp_path):
    settings = AgentSettings(
        state_dir=tmp_path, runtime_dir=tmp_path, ingress_port=1, version="1", address=ADDRESS
    )
    built = Environments(tmp_path, settings.python, os.environ)
    return Starts(settings, Workspace(tmp_path, None), built, "here")


def port_of(starts: Starts, instance: str) -> int:
    return int(starts._inbound_label(instance)["inbound"])


def test_more_instances_than_ports_come_and_go(starts):
    given = [port_of(starts, f"web-{number}") for number in range(len(ports.INBOUND) + 500)]
    assert set(given) <= set(ports.INBOUND)
    newest = given[-ports.INBOUND_KEPT :]
    assert len(set(newest)) == len(newest)


def test_an_instance_has_its_port_again_where_nobody_took_it(starts):
    port = port_of(starts, "web")
    assert port_of(starts, "web") == port
    with socket.create_server((ADDRESS, port)):
        other = port_of(starts, "web")
    assert other != port


def test_an_address_that_is_not_this_machines_is_said():
    with pytest.raises(FailedPreconditionError, match=r"`192\.0\.2\.1`.*`--address`"):
        ports.free_inbound("192.0.2.1", 0, ())
