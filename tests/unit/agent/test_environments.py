"""Virtual environments: when the core wants one, and how they come to be on disk."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from callmesh_agent import environments, pythons, shelf
from callmesh_agent.core import events
from callmesh_agent.core import instructions as do
from callmesh_agent.core.environments import key_of
from callmesh_agent.environments import Environments
from callmesh_agent.shelf import Entry
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import common_pb2, scheduler_pb2

PYTHON = sys.version_info
VERSION = f"{PYTHON[0]}.{PYTHON[1]}"
IMAGE = common_pb2.Image(lock=["tiny==1.0"], lock_python=VERSION)
OTHER = common_pb2.Image(lock=["tiny==2.0"], lock_python=VERSION)


def image_of(wheels: Path, *lock: str) -> common_pb2.Image:
    return common_pb2.Image(
        lock=lock, lock_python=VERSION, index_options=["--no-index", f"--find-links={wheels}"]
    )


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder of wheels that needs no network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    about = "tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "VALUE = 7\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments", sys.executable, dict(os.environ))


def test_a_key_is_of_all_that_an_environment_depends_on():
    assert key_of(common_pb2.Image(requirements=["x"]), "here") == ""
    keys = {
        key_of(IMAGE, "here"),
        key_of(OTHER, "here"),
        key_of(IMAGE, "there"),
        key_of(common_pb2.Image(lock=IMAGE.lock, lock_python="3.99"), "here"),
        key_of(image_of(Path("/w"), *IMAGE.lock), "here"),
    }
    assert len(keys) == 5
    # What is set beside the packages does not make another environment.
    named = common_pb2.Image(requirements=["tiny"], workdir="/", env_vars={"A": "1"})
    named.MergeFrom(IMAGE)
    assert key_of(named, "here") == key_of(IMAGE, "here")


class TestCore:
    def test_an_app_and_a_task_wait_for_one_build(self, node, tools):
        app = tools.desired(kind=scheduler_pb2.APP_KIND_ASGI, image=IMAGE)
        (build,) = tools.of(do.BuildEnvironment, node.want(app))
        assert build.key == key_of(IMAGE, "")
        order = node.order("r1")
        order.task.environment.image.CopyFrom(IMAGE)
        assert tools.of(do.BuildEnvironment, node.feed(events.AttemptOrdered(order))) == []
        node.feed(events.EnvironmentProgressed(build.key, "downloading tiny"))
        text = "building the environment: downloading tiny"
        assert node.state.instances["web-1-aaaaa"].message == text
        assert [each.report.message for each in node.state.attempts.values()] == [text]

        made = node.feed(events.EnvironmentBuilt(build.key))
        (base,) = tools.of(do.StartZygote, made)
        assert (base.zygote_id, base.environment) == (f"base-{build.key}", build.key)
        made = node.zygote_ready(base.zygote_id)
        assert tools.of(do.StartInstance, made) == [do.StartInstance("web-1-aaaaa", base.zygote_id)]
        (of_pool,) = tools.of(do.StartZygote, made)
        assert (of_pool.parent, of_pool.environment) == (base.zygote_id, build.key)

    def test_two_environments_have_their_own_zygotes(self, node, tools):
        web = tools.desired(kind=scheduler_pb2.APP_KIND_ASGI, image=IMAGE)
        plain = tools.desired("web-1-bbbbb", kind=scheduler_pb2.APP_KIND_ASGI)
        node.want(web, plain)
        node.base_ready()
        started = tools.of(do.StartInstance, node.done)
        assert [each.zygote for each in started] == ["base"]
        node.feed(events.EnvironmentBuilt(key_of(IMAGE, "")))
        assert tools.of(do.StartZygote, node.done)[-1].environment == key_of(IMAGE, "")

    def test_a_failed_build_says_why_and_is_tried_again(self, node, tools):
        app = tools.desired(kind=scheduler_pb2.APP_KIND_ASGI, image=IMAGE)
        order = node.order("r1")
        order.task.environment.image.CopyFrom(IMAGE)
        node.want(app)
        node.feed(events.AttemptOrdered(order))
        node.feed(events.EnvironmentFailed(key_of(IMAGE, ""), "no such wheel"))
        instance = node.state.instances["web-1-aaaaa"]
        assert "no such wheel; is started again in 0.5 s" in instance.message
        (attempt,) = node.state.attempts.values()
        assert attempt.report.phase == scheduler_pb2.ATTEMPT_PHASE_FAILED
        assert attempt.report.error.type == "ImageBuildError"
        assert attempt.report.error.non_recoverable
        assert len(tools.of(do.BuildEnvironment, node.advance(1))) == 1

    def test_an_unused_base_zygote_of_a_built_environment_ends(self, node, tools):
        node.want(tools.desired(kind=scheduler_pb2.APP_KIND_ASGI, image=IMAGE))
        key = key_of(IMAGE, "")
        node.feed(events.EnvironmentBuilt(key))
        node.zygote_ready(f"base-{key}")
        node.advance(node.state.limits.zygote_idle + 1)
        assert f"zygote/base-{key}" in [
            each.process_id for each in tools.of(do.SignalProcess, node.done)
        ]

    def test_a_start_is_timed_from_when_all_was_there(self, node, tools):
        node.want(tools.desired(image=IMAGE))
        node.advance(300)
        (report,) = tools.of(do.ReportInstance, node.feed(events.SessionOpened()))
        assert not report.report.status.HasField("prepared_at")
        made = node.feed(events.EnvironmentBuilt(key_of(IMAGE, "")))
        (report,) = tools.of(do.ReportInstance, made)
        assert report.report.status.prepared_at.seconds == int(node.now)


class TestOnDisk:
    async def test_what_is_built_has_the_packages_and_callmesh(self, built, wheels):
        told: list[str] = []
        await built.build("k1", image_of(wheels, "tiny==1.0"), told.append)
        assert told[0] == f"1 packages on Python {VERSION}"
        code = (
            "import tiny, callmesh_wire.names, importlib.metadata as m;"
            "print(tiny.VALUE, m.version('callmesh'))"
        )
        done = subprocess.run(
            [built.python("k1"), "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[0] == "7"
        assert built.entries()["k1"].size > 0
        (pyc,) = built.folder("k1").glob("lib/*/site-packages/__pycache__/tiny.*.pyc")
        assert pyc.is_file()

    async def test_it_is_built_once_and_again_after_a_crash(self, built, wheels):
        image = image_of(wheels, "tiny==1.0")
        await built.build("k1", image, print)
        mark = built.folder("k1") / "pyvenv.cfg"
        first = mark.stat().st_ino
        await built.build("k1", image, print)
        assert mark.stat().st_ino == first
        # A build that was cut short has no mark of its end.
        (built.folder("k1") / environments.META).unlink()
        (built.folder("k1") / "half").write_text("")
        await built.build("k1", image, print)
        assert not (built.folder("k1") / "half").exists()
        assert json.loads((built.folder("k1") / environments.META).read_text())["packages"]

    async def test_two_builds_of_one_environment_do_not_meet(self, built, wheels, tmp_path):
        image = image_of(wheels, "tiny==1.0")
        other = Environments(tmp_path / "environments", built.python(""), dict(os.environ))
        told: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(built.build("k1", image, told.append))
            group.create_task(other.build("k1", image, told.append))
        assert told.count(f"1 packages on Python {VERSION}") == 1

    async def test_why_it_cannot_be_built_is_said(self, built, wheels):
        with pytest.raises(FailedPreconditionError, match=r"cannot be built: .*nothing") as caught:
            await built.build("k1", image_of(wheels, "nothing==1.0"), print)
        assert "\n" not in str(caught.value)
        assert not built.folder("k1").exists()
        image = image_of(wheels, "tiny==1.0")
        image.lock_python = "3.99"
        with pytest.raises(FailedPreconditionError, match=r"no Python 3\.99, only .*install it"):
            await built.build("k1", image, print)

    async def test_what_is_discarded_is_built_anew(self, built, wheels, tmp_path):
        await built.build("k1", image_of(wheels, "tiny==1.0"), print)
        shelf.discard(tmp_path / "environments", ["k1", "never-there"])
        assert built.entries() == {}
        await built.build("k1", image_of(wheels, "tiny==1.0"), print)
        shelf.free(tmp_path / "environments")
        assert list(built.entries()) == ["k1"]
        # What a crash left is found where nobody needs it any more.
        (built.folder("k2")).mkdir()
        assert built.halves() == ["k2"]

    async def test_a_lock_goes_with_its_environment(self, built, wheels, tmp_path):
        await built.build("k1", image_of(wheels, "tiny==1.0"), print)
        folder = tmp_path / "environments"
        built.remove_locks()
        assert (folder / ".k1.lock").exists()
        shelf.discard(folder, ["k1"])
        with (folder / ".k1.lock").open("rb") as build_under_way:
            fcntl.flock(build_under_way, fcntl.LOCK_EX)
            built.remove_locks()
            assert (folder / ".k1.lock").exists()
            # Who waits for the lock gets the one that is at its place then.
            async with asyncio.TaskGroup() as group:
                group.create_task(built.build("k1", image_of(wheels, "tiny==1.0"), print))
                await asyncio.sleep(0.2)
                (folder / ".k1.lock").unlink()
        assert list(built.entries()) == ["k1"]
        shelf.discard(folder, ["k1"])
        built.remove_locks()
        assert not (folder / ".k1.lock").exists()


def test_the_longest_unused_goes_first_and_nothing_in_use() -> None:
    ages = {"new": 100, "old": 200, "older": 300, "oldest": 400, "just": 10}
    entries = {name: Entry(size=10, used_at=1000.0 - age) for name, age in ages.items()}
    assert shelf.surplus(entries, {"oldest"}, 1000.0, cap=50) == []
    assert shelf.surplus(entries, {"oldest"}, 1000.0, cap=40) == ["older"]
    assert shelf.surplus(entries, {"oldest"}, 1000.0, cap=0) == ["older", "old", "new"]
    assert shelf.surplus(entries, (), 1000.0, cap=50, keep_seconds=250) == ["oldest", "older"]


def test_interpreters_are_found_by_name(tmp_path: Path):
    for name in ("bin/python3.13", "shims/python3.14", "bin/python3.10", "bin/python3.13-config"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    found = pythons.installed({"PATH": f"{tmp_path}/shims:{tmp_path}/bin"})
    assert found[VERSION] == sys.executable
    assert found["3.13"] == (str(tmp_path / "bin" / "python3.13"))
    assert set(found) == {VERSION, "3.13"}
