"""The command lines of the mesh's processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from callmesh.cli.caps import arguments
from callmesh_up.options import AgentOptions, UpOptions, parse

AGENT = ["agent", "--server=h:1", "--join-token-file=t", "--name=n"]


@pytest.mark.parametrize("verb", [["up"], AGENT])
def test_caps_reach_the_process(verb: list[str]) -> None:
    found = parse([*verb, *arguments((("environments", 5), ("bundles", 7)))])
    assert isinstance(found, UpOptions | AgentOptions)
    assert found.caps == {"environments": 5, "bundles": 7}


def test_an_agent_is_told_everything() -> None:
    found = parse([*AGENT, "--label=a=b", "--label=c=", "--state-dir=/s", "--zone=z"])
    assert isinstance(found, AgentOptions)
    assert found.labels == {"a": "b", "c": ""}
    assert (found.state_dir, found.zone, found.caps) == (Path("/s"), "z", {})
