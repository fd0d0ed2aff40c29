"""Rollout after rollout: their own callers, and those of everybody else."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest
import websockets.sync.client
from load import Load
from mesh import Mesh, eventually
from mirror import mirror

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROLLOUTS = 20


def test_twenty_rollouts_without_a_failed_call(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "restless", "v0"))
    endpoint = shared_mesh.json("get", "app", "restless")["endpoint"]
    began = time.monotonic()
    with (
        Load(endpoint, callers=4, pause=0.12, seconds=300) as kept,
        Load(endpoint, callers=3, pause=0.12, seconds=300, keep_alive=False) as fresh,
        Load(f"{endpoint}/size", callers=1, pause=0.12, seconds=300, method="POST") as posts,
    ):
        for number in range(1, ROLLOUTS + 1):
            shared_mesh.cli("deploy", mirror(tmp_path, "restless", f"v{number}"))
            assert httpx.get(endpoint, trust_env=False).json()["version"] == f"v{number}"
    lasted = time.monotonic() - began
    loads = (kept, fresh, posts)
    answers = sum(len(load.answers) for load in loads)
    print(f"{answers} calls, {answers / lasted:.0f} a second, over {ROLLOUTS} rollouts")
    assert not [miss.why for load in loads for miss in load.misses]
    assert answers / lasted > 30
    app = shared_mesh.json("get", "app", "restless")
    assert (app["revision"], app["state"]) == (ROLLOUTS + 1, "ready")
    eventually(
        20,
        "the old instances are gone",
        lambda: len(shared_mesh.json("get", "app", "restless")["instances"]) == 1,
    )


PAGE = """
import streamlit as st
st.write("The page of a visitor who stays")
"""
STREAMLIT = """
import callmesh as flyte
env = flyte.app.AppEnvironment(
    name="onlooker",
    args=["streamlit", "run", "page.py", "--server.port", "$PORT", "--server.address",
          "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"],
    include=["page.py"], requires_auth=False,
)
"""


def test_a_streamlit_session_outlives_the_rollouts_of_others(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    (tmp_path / "page.py").write_text(PAGE)
    (tmp_path / "onlooker_app.py").write_text(STREAMLIT)
    shared_mesh.cli("deploy", str(tmp_path / "onlooker_app.py"))
    shared_mesh.cli("deploy", mirror(tmp_path, "bustling", "v0"))
    port = int(shared_mesh.record["ingress_port"])
    with websockets.sync.client.connect(
        f"ws://onlooker.localhost:{port}/_stcore/stream",
        sock=socket.create_connection(("127.0.0.1", port)),
        origin=f"http://onlooker.localhost:{port}",  # type: ignore[arg-type]
        subprotocols=["streamlit"],  # type: ignore[list-item]
        max_size=None,
    ) as session:
        assert _runs(session)
        for number in range(1, 6):
            shared_mesh.cli("deploy", mirror(tmp_path, "bustling", f"v{number}"))
            assert _runs(session), f"after rollout {number}"
        shared_mesh.cli("delete", "app", "bustling")
        assert _runs(session), "after a deletion"


def _runs(session: websockets.sync.client.ClientConnection) -> bool:
    """Have the page's script run once more in this session, to its end."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ClientState_pb2 import ClientState
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    session.send(BackMsg(rerun_script=ClientState()).SerializeToString())
    while True:
        message = ForwardMsg.FromString(session.recv(timeout=20))  # type: ignore[arg-type]
        if message.WhichOneof("type") == "script_finished":
            return message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
