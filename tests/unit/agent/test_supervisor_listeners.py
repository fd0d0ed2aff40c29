"""Ports for workloads."""

from __future__ import annotations

import random
import socket

import pytest

from callmesh_agent.supervisor import listeners
from callmesh_agent.supervisor.listeners import Ports
from callmesh_wire.errors import ExhaustedError


def test_a_port_is_not_given_twice_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "PICKED", range(19_990, 19_994))
    monkeypatch.setattr(listeners, "_is_free", lambda port: port != 19_991)
    ports = Ports(random.Random(1))
    given = {ports.pick(now) for now in (0.0, 10.0, 20.0)}
    assert given == {19_990, 19_992, 19_993}
    with pytest.raises(ExhaustedError, match="every port from 19990 to 19993 is taken"):
        ports.pick(59.0)
    assert ports.pick(60.5) in given


def test_the_ephemeral_range_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_ephemeral", lambda: range(10_000, 19_995))
    monkeypatch.setattr(listeners, "_is_free", lambda _: True)
    ports = Ports(random.Random(1))
    assert {ports.pick(0.0) for _ in range(5)} == set(range(19_995, 20_000))


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with listeners.listen() as listener:
        address, port = listener.getsockname()
        assert address == "127.0.0.1"
        assert not listeners._is_free(port)
        with socket.create_connection((address, port)):
            pass
    assert listeners._is_free(port)
