"""The folders, the lock and the ports of `callmesh up`."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmesh_up import down, layout, ports, record
from callmesh_up.options import DownOptions, UpOptions, parse
from callmesh_up.speaker import Speaker
from callmesh_wire import diskfile


@pytest.fixture
def found(tmp_path: Path) -> Iterator[layout.Layout]:
    with tempfile.TemporaryDirectory() as short:
        yield layout.find(tmp_path / "state", {"XDG_RUNTIME_DIR": short})


def test_sockets_get_a_short_path_of_their_own(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    one = layout.find(long, {})
    two = layout.find(long / "y", {})
    assert one.runtime != two.runtime
    assert len(str(one.runtime)) < 60


def test_the_environment_names_the_folder() -> None:
    assert layout.default_state({"CALLMESH_STATE_DIR": "/s", "XDG_STATE_HOME": "/x"}) == Path("/s")
    assert layout.default_state({"XDG_STATE_HOME": "/x"}) == Path("/x/callmesh/default")


def test_folders_are_private(found: layout.Layout) -> None:
    layout.prepare(found)
    for folder in (found.state, found.runtime, found.server, found.agent):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad = layout.find(tmp_path / "file" / "state", {})
    with pytest.raises(layout.LayoutProblem, match="--state-dir"):
        layout.prepare(bad)


def test_a_second_mesh_on_the_folder_is_refused_and_named(found: layout.Layout) -> None:
    layout.prepare(found)
    held = record.acquire(found)
    record.write(found, record.Record(4711, "0.1.0", 1, 2, "r", 0.0))
    assert record.is_running(found)
    with pytest.raises(record.AlreadyRunning, match=rf"process {os.getpid()}.*callmesh down"):
        record.acquire(found)
    os.close(held)
    assert not record.is_running(found)
    os.close(record.acquire(found))


def test_a_damaged_record_is_none(found: layout.Layout) -> None:
    layout.prepare(found)
    found.record.write_text("{")
    assert record.read(found) is None


def test_the_token_is_made_once_and_private(found: layout.Layout) -> None:
    layout.prepare(found)
    token = diskfile.token(found.token)
    assert diskfile.token(found.token) == token
    assert found.token.stat().st_mode & 0o777 == 0o600
    assert len(token) > 30


def test_what_a_killed_mesh_was_writing_is_a_meshs_own(
    found: layout.Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.prepare(found)
    diskfile.token(found.token)
    for name in (".up.json.draft", ".token.77.draft", ".join.token.draft"):
        (found.state / name).touch()
    layout.prepare(found)
    assert down.run(found, purge=True) == 0
    assert not found.state.exists()


def test_a_taken_port_names_its_holder() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ports.PortProblem, match=f"{port}.*taken by pid 7.*--port"):
            ports.choose(port, None, "the API", "--port", lambda _: "pid 7")
        other = ports.choose(0, port, "the API", "--port", lambda _: None)
        assert other not in (0, port)


def test_a_free_port_of_before_is_kept() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert ports.choose(0, port, "the API", "--port", lambda _: None) == port


def test_options_are_parsed_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    up = parse(["up", "--state-dir=/s", "--port=0", "--detach"])
    assert isinstance(up, UpOptions)
    assert (up.port, up.ingress_port, up.detach, up.state_dir) == (0, 7480, True, Path("/s"))
    down = parse(["down", "--purge"])
    assert isinstance(down, DownOptions)
    with pytest.raises(SystemExit):
        parse(["up", "--port=99999"])
    assert "0 to 65535" in capsys.readouterr().err


def test_a_problem_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Speaker(None).problem(f"a mesh is already running on `/tmp/{'folder/' * 4}`: " + "end it, " * 9)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: a mesh is already running on `/tmp/folder/")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80


def test_a_folder_with_other_things_is_not_taken_for_a_meshs(
    found: layout.Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    (found.state / "server").mkdir(parents=True)
    (found.state / "server" / "mine.py").touch()
    (found.state / "notes.txt").touch()
    with pytest.raises(layout.LayoutProblem, match=r"such as `notes.txt`: name an empty folder"):
        layout.prepare(found)
    assert down.run(found, purge=True) == 1
    assert "left alone: `notes.txt`" in capsys.readouterr().err
    assert (found.state / "server" / "mine.py").exists()


def test_a_purge_deletes_what_is_a_meshs_and_no_more(
    found: layout.Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.prepare(found)
    diskfile.token(found.token)
    (found.state / "notes.txt").touch()
    assert down.run(found, purge=True) == 1
    assert [each.name for each in found.state.iterdir()] == ["notes.txt"]
    (found.state / "notes.txt").unlink()
    layout.prepare(found)
    diskfile.token(found.token)
    assert down.run(found, purge=True) == 0
    assert not found.state.exists()
    assert down.run(found, purge=True) == 0


def test_what_local_mode_has_kept_is_a_meshs_own(found: layout.Layout) -> None:
    kept = found.local_mode / "cache"
    kept.mkdir(parents=True)
    (kept / "a").touch()
    layout.prepare(found)
    diskfile.token(found.token)
    (found.local_mode / "mine.txt").touch()
    assert down.run(found, purge=True) == 1
    assert [each.name for each in found.local_mode.iterdir()] == ["mine.txt"]
