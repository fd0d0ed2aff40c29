"""Forty simulated nodes at a real server: what each holds of the mesh, and what it was sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "perf"))

from scale import Fleet, fleet, server, the_view

NODES, APPS = 40, 20
INSTANCES = APPS * 20


def grown(agents: Fleet, control: Any, change: Any) -> int:
    """Bytes that all agents together were sent because of a change."""
    agents.settle(control)
    before = int(agents.state()["received"])
    agents.ask(do="mark")
    change()
    agents.seen(NODES)
    agents.settle(control)
    return int(agents.state()["received"]) - before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nodes_follow_the_view_by_what_changed(tmp_path: Path) -> None:
    with server(tmp_path) as control, fleet(control, NODES, takes_deltas=True) as agents:
        agents.until("everybody joined", lambda s: s["connected"] == NODES)
        control.deploy(APPS)
        agents.until("all is placed", lambda s: s["instances"] == INSTANCES)
        # Every witness has what a newcomer is told in full.
        seen = the_view(control, agents)
        assert seen["endpoints"] == INSTANCES
        whole = seen["view, kB"] * 1e3 * NODES

        first = agents.ask(do="instances")["ids"][0]
        flip = lambda: agents.ask(do="flip", instance=first, ready=False)  # noqa: E731
        assert grown(agents, control, flip) < whole / 10
        assert the_view(control, agents)["endpoints"] == INSTANCES - 1

        def crash() -> None:
            control.kill()
            control.start()

        # What every node has already is not sent to it again by the next server.
        assert grown(agents, control, crash) < whole / 2
        assert the_view(control, agents)["endpoints"] == INSTANCES - 1
