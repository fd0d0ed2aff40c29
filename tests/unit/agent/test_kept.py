"""What a node remembers of its server, sealed on its disk."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from callmesh_agent import kept as module
from callmesh_agent.config import AgentSettings
from callmesh_agent.kept import Kept
from callmeshpb.v1 import node_pb2, scheduler_pb2

VALUE = "correct horse battery staple"


@pytest.fixture
def settings(tmp_path):
    return AgentSettings(state_dir=tmp_path, runtime_dir=tmp_path, ingress_port=1, version="1")


def wanted(version=1):
    item = node_pb2.DesiredInstance(
        instance=scheduler_pb2.Instance(id="web-1-aaaaa"), secret_env={"KEY": VALUE}
    )
    return node_pb2.DesiredSet(version=version, instances=[item])


@contextlib.asynccontextmanager
async def writing(settings, problems):
    made = Kept(settings, problems.append)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        yield made
        task.cancel()


async def until(what):
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


async def test_the_newest_is_written_and_read_again(settings):
    async with writing(settings, []) as kept:
        for version in range(1, 6):
            kept.put_desired(wanted(version))
        await until(settings.desired_file.exists)
        kept.put_view(node_pb2.MeshView(version=7))
        await until(settings.view_file.exists)
    again = Kept(settings, print)
    assert again.desired() == wanted(5)
    assert again.view() == node_pb2.MeshView(version=7)
    for file in settings.state_dir.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
        assert VALUE.encode() not in file.read_bytes(), file


def test_a_node_of_no_past_knows_nothing(settings):
    assert Kept(settings, print).desired() is None
    assert Kept(settings, print).view() == node_pb2.MeshView()
    assert list(settings.state_dir.iterdir()) == []


def kept_before(settings):
    made = Kept(settings, print)
    made.put_desired(wanted())
    made.flush()


def cut_short(settings):
    whole = settings.desired_file.read_bytes()
    settings.desired_file.write_bytes(whole[: len(whole) // 2])


def flip(settings):
    content = bytearray(settings.desired_file.read_bytes())
    content[20] ^= 1
    settings.desired_file.write_bytes(content)


DAMAGE = {
    "cut short": cut_short,
    "a bit": flip,
    "empty": lambda settings: settings.desired_file.write_bytes(b""),
    "no key": lambda settings: settings.sealing_key_file.unlink(),
    "half a key": lambda settings: settings.sealing_key_file.write_bytes(b"x" * 7),
    "another key": lambda settings: settings.sealing_key_file.write_bytes(b"x" * 32),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside_with_a_warning(settings, caplog, damage):
    kept_before(settings)
    DAMAGE[damage](settings)
    again = Kept(settings, print)
    assert again.desired() is None
    assert "`desired.sealed.aside`" in caplog.text
    assert VALUE not in caplog.text
    assert not settings.desired_file.exists()
    kept_before(settings)
    assert Kept(settings, print).desired() == wanted()


@pytest.mark.parametrize("other", [{"node": "b"}, {"mesh": "another"}])
def test_what_is_of_another_node_or_mesh_is_not_used(settings, caplog, other):
    kept_before(settings)
    assert Kept(replace(settings, **other), print).desired() is None
    assert "of another node or mesh" in caplog.text


async def test_a_folder_that_cannot_be_written_is_told_and_tried_again(settings, monkeypatch):
    monkeypatch.setattr(module, "RETRY", 0.05)
    # Root may write everywhere: a folder in the file's place is in anybody's way.
    settings.desired_file.mkdir()
    problems = []
    async with writing(settings, problems) as kept:
        kept.put_desired(wanted())
        await until(lambda: problems)
        assert "cannot be kept on its disk" in problems[0]
        settings.desired_file.rmdir()
        await until(settings.desired_file.exists)
        await until(lambda: problems[-1] == "")
    assert Kept(settings, print).desired() == wanted()
