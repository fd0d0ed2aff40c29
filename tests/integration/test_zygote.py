"""Zygotes: what is forked from them, what forbids a fork, and whom they outlive."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from supervised import Supervised, pss_megabytes, supervised, wait_for_end

from callmesh_agent.supervisor import proc
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import common_pb2, supervisor_pb2, workload_pb2

PROBE = Path(__file__).with_name("zygote_probe.py")
READY = supervisor_pb2.ZYGOTE_OUTCOME_READY
IMPORT_FAILED = supervisor_pb2.ZYGOTE_OUTCOME_IMPORT_FAILED
NOT_FORKABLE = supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE

THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), name="pump", daemon=True).start()
"""
BARE_THREAD = """
import _thread, time
def pump():
    time.sleep(60)
_thread.start_new_thread(pump, ())
"""
ARROW = """
import pyarrow, pyarrow.compute
a = pyarrow.table({"x": list(range(100000))})
b = a.sort_by("x")
"""


class Rig:
    """A supervisor with a base zygote, and a folder of user code."""

    def __init__(self, own: Supervised) -> None:
        self.own = own
        self.bundle = own.folder / "bundle"
        self.bundle.mkdir()

    async def base(self, *argv: str) -> supervisor_pb2.Process:
        """Start the base zygote and wait until it is ready."""
        started = await self.own.start(
            "zygote/base", sys.executable, *(argv or (str(PROBE),)), is_zygote=True,
            environment={"PATH": os.environ["PATH"], "BASE": "1"}, directory="/",
        )  # fmt: skip
        assert (await self.own.zygote_state("zygote/base")).outcome == READY
        return started

    async def app(self, name: str, **options: Any) -> supervisor_pb2.Process:
        """Fork an app instance from the base zygote."""
        start = workload_pb2.WorkloadStart(
            app=workload_pb2.AppStart(instance_id=name), directory=str(self.bundle)
        )
        return await self.own.start(
            f"app/{name}", zygote="zygote/base", start=start.SerializeToString(), **options
        )

    async def zygote(self, module: str, source: str) -> supervisor_pb2.ZygoteState:
        """Fork a task zygote that imports this module; what became of it."""
        (self.bundle / f"{module}.py").write_text(source)
        start = workload_pb2.WorkloadStart(
            zygote=workload_pb2.ZygoteStart(code=common_pb2.Code(module=module)),
            directory=str(self.bundle),
        )
        await self.own.start(
            f"zygote/{module}", zygote="zygote/base", start=start.SerializeToString(),
            is_zygote=True, environment={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return await self.own.zygote_state(f"zygote/{module}")

    async def worker(self, name: str, zygote: str, **environment: str) -> supervisor_pb2.Process:
        """Fork a worker from a task zygote."""
        start = workload_pb2.WorkloadStart(
            worker=workload_pb2.WorkerStart(worker_id=name), directory=str(self.bundle)
        )
        return await self.own.start(
            f"worker/{name}", zygote=f"zygote/{zygote}", start=start.SerializeToString(),
            environment=environment,
        )  # fmt: skip

    async def facts(self, process_id: str) -> dict[str, Any]:
        """What a forked workload says of itself."""
        found: dict[str, Any] = json.loads((await self.own.output(process_id)).splitlines()[-1])
        return found


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with supervised() as own:
        yield Rig(own)


async def test_a_forked_app_has_what_it_was_given_and_nothing_of_the_zygote(rig: Rig) -> None:
    base = await rig.base()
    app = await rig.app("a", environment={"COLOUR": "blue", "PYTHONPATH": "/opt/x"}, listen=True)
    facts = await rig.facts("app/a")
    assert facts["pid"] == facts["session"] == app.pid
    assert facts["parent"] == rig.own.pid
    assert facts["role"] == "app"
    assert facts["term_is_default"]
    assert facts["directory"] == facts["first_path"] == str(rig.bundle)
    listen_fd = facts["listen_fd"]
    assert facts["environment"] == {
        "COLOUR": "blue", "PYTHONPATH": "/opt/x", "PORT": str(app.port),
        "CALLMESH_LISTEN_FD": str(listen_fd),
    }  # fmt: skip
    log, lock = str(rig.own.log("app/a")), f"{rig.own.state}/locks/app~a.lock"
    opened = facts["descriptors"]
    assert (opened.pop("0"), opened.pop("1"), opened.pop("2")) == ("/dev/null", log, log)
    assert opened.pop(str(listen_fd)).startswith("socket:")
    assert [target for target in opened.values() if not target.endswith("/fd")] == [lock]
    assert proc.start_ticks(base.pid)
    title = Path(f"/proc/{app.pid}/cmdline").read_bytes().rstrip(b"\0")
    assert title == b"callmesh: app a"


async def test_the_base_zygote_has_nothing_that_forbids_a_fork(rig: Rig) -> None:
    base = await rig.base("-m", "callmesh._zygote")
    folder = Path(f"/proc/{base.pid}")
    targets = [str(each.readlink()) for each in (folder / "fd").iterdir()]
    assert len([target for target in targets if target.startswith("socket:")]) == 1
    assert not [target for target in targets if "event" in target]
    assert len(list((folder / "task").iterdir())) == 1
    maps = (folder / "maps").read_text()
    assert "pydantic_core" in maps
    assert "cygrpc" not in maps
    print(f"base zygote: {pss_megabytes(base.pid):.0f} MB PSS beside its spare")


async def test_the_end_of_a_fork_is_known_with_its_status(rig: Rig) -> None:
    await rig.base()
    await rig.app("a", environment={"EXIT": "7"})
    assert (await rig.own.exited("app/a")).exit_status == 7
    # At once: some are killed while the process that forked them is still there.
    for _ in range(20):
        again = await rig.app("a", environment={})
        os.kill(again.pid, signal.SIGSEGV)
        assert (await rig.own.exited("app/a")).exit_status == -signal.SIGSEGV


async def test_workers_share_an_import_and_no_random_numbers(rig: Rig) -> None:
    await rig.base()
    state = await rig.zygote(
        "work", "import random, numpy\nprint('imported', flush=True)\nwhen = object()\n"
    )
    assert (state.outcome, state.message) == (READY, "")
    assert state.import_seconds > 0
    probe = "float(__import__('numpy').random.random())"
    facts = []
    for name in ("one", "two", "three"):
        await rig.worker(name, "work", PROBE=probe)
        facts.append(await rig.facts(f"worker/{name}"))
    assert {each["role"] for each in facts} == {"worker"}
    assert {each["parent"] for each in facts} == {rig.own.pid}
    assert len({each["random"] for each in facts}) == 3
    assert len({each["value"] for each in facts}) == 3
    assert rig.own.log("zygote/work").read_text() == "imported\n"


async def test_an_import_error_shows_the_user_s_frames_alone(rig: Rig) -> None:
    await rig.base()
    state = await rig.zygote("broken", "def f():\n    raise ValueError('no such luck')\n\nf()\n")
    assert state.outcome == IMPORT_FAILED
    assert (state.error_type, state.message) == ("ValueError", "no such luck")
    assert [line.strip() for line in state.traceback.splitlines() if "File" in line] == [
        'File "broken.py", line 4, in <module>',
        'File "broken.py", line 2, in f',
    ]
    assert (await rig.own.exited("zygote/broken")).exit_status == 0
    with pytest.raises(FailedPreconditionError, match="`zygote/broken` is not running"):
        await rig.worker("one", "broken")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = (", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
async def test_whatever_a_module_raises_is_told(rig: Rig, source: str, error: str) -> None:
    await rig.base()
    state = await rig.zygote("broken", source)
    assert (state.outcome, state.error_type) == (IMPORT_FAILED, error)
    assert error in state.traceback


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import asyncio\nloop = asyncio.new_event_loop()", "an event poll"),
        (
            "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()",
            "a socket (IPv4, 127.0.0.1:",
        ),
        (THREAD, "the thread `pump`"),
        (BARE_THREAD, "thread"),
        ("import os\nfd = os.eventfd(0)", "eventfd"),
        ("import os\nfd = os.open('/dev/ptmx', os.O_RDWR)", "the device /dev/ptmx"),
    ],
    ids=["loop", "socket", "thread", "bare-thread", "eventfd", "device"],
)
async def test_what_does_not_survive_a_fork_is_named(rig: Rig, source: str, named: str) -> None:
    await rig.base()
    state = await rig.zygote("held", source)
    assert state.outcome == NOT_FORKABLE
    assert state.message.startswith("the import of `held` leaves behind ")
    assert named in state.message
    await rig.own.exited("zygote/held")


@pytest.mark.parametrize(
    ("source", "probe", "value"),
    [
        (
            "import numpy\na = numpy.ones((400, 400))\nb = a @ a",
            "float((__import__('heavy').a @ __import__('heavy').a)[0, 0])",
            400.0,
        ),
        (
            ARROW,
            "__import__('heavy').a.sort_by('x').num_rows",
            100_000,
        ),
        ("import pandas", "int(__import__('pandas').Series([1, 2]).sum())", 3),
        ("import grpc, grpc.aio", "__import__('grpc').StatusCode.OK.value[0]", 0),
    ],
    ids=["openblas", "arrow", "pandas", "grpc-imported-only"],
)
async def test_native_pools_and_heavy_imports_survive_a_fork(
    rig: Rig, source: str, probe: str, value: object
) -> None:
    await rig.base()
    state = await rig.zygote("heavy", source)
    assert (state.outcome, state.message) == (READY, "")
    for name in ("one", "two"):
        await rig.worker(name, "heavy", PROBE=probe)
        assert (await rig.facts(f"worker/{name}"))["value"] == value


async def test_workloads_outlive_their_zygote_which_can_be_started_again(rig: Rig) -> None:
    base = await rig.base()
    app = await rig.app("a", environment={})
    os.kill(base.pid, signal.SIGKILL)
    await rig.own.exited("zygote/base")
    assert proc.start_ticks(app.pid) == app.start_ticks
    await rig.base()
    await rig.app("b", environment={})
    await rig.facts("app/b")


async def test_a_dead_supervisor_s_zygotes_end_and_its_workloads_are_adopted(rig: Rig) -> None:
    base = await rig.base()
    await rig.zygote("work", "")
    worker = await rig.worker("one", "work")
    await rig.facts("worker/one")
    ended = os.pidfd_open(base.pid)
    await rig.own.restart()
    await wait_for_end(ended)
    for zygote in ("zygote/base", "zygote/work"):
        await rig.own.exited(zygote)
    (found,) = [each for each in await rig.own.client.list() if each.running]
    assert found == worker
    await rig.base()


async def test_forks_leave_no_zombies_and_take_a_short_time(rig: Rig) -> None:
    base = await rig.base()
    took = []
    for number in range(20):
        began = time.perf_counter()
        await rig.app(str(number), environment={"EXIT": "0"})
        took.append((time.perf_counter() - began) * 1000)
        await rig.own.exited(f"app/{number}")
    print(
        f"fork, request to answer: {statistics.median(took):.1f} ms median, {min(took):.1f} least; "
        f"base zygote {pss_megabytes(base.pid):.0f} MB PSS"
    )
    assert statistics.median(took) < 50
    assert len(proc.children(base.pid)) == 1  # the spare
    assert proc.children(rig.own.pid) == [base.pid]


async def test_a_task_zygote_can_be_spawned_where_there_is_no_base(rig: Rig) -> None:
    (rig.bundle / "work.py").write_text("import os\nseen = os.environ.get('COLOUR')\n")
    start = workload_pb2.WorkloadStart(
        zygote=workload_pb2.ZygoteStart(code=common_pb2.Code(module="work")),
        directory=str(rig.bundle),
    )
    await rig.own.start(
        "zygote/work", sys.executable, str(PROBE), start=start.SerializeToString(),
        is_zygote=True, environment={"COLOUR": "blue"}, directory=str(rig.bundle),
    )  # fmt: skip
    assert (await rig.own.zygote_state("zygote/work")).outcome == READY
    await rig.worker("one", "work", PROBE="__import__('work').seen")
    facts = await rig.facts("worker/one")
    assert facts["value"] == "blue"
    assert set(facts["environment"]) == {"PROBE"}


async def test_forks_asked_for_before_the_zygote_is_ready_wait_for_it(rig: Rig) -> None:
    await rig.base()
    (rig.bundle / "slow.py").write_text("import time\ntime.sleep(0.2)\n")
    start = workload_pb2.WorkloadStart(
        zygote=workload_pb2.ZygoteStart(code=common_pb2.Code(module="slow")),
        directory=str(rig.bundle),
    ).SerializeToString()
    await rig.own.start("zygote/slow", zygote="zygote/base", start=start, is_zygote=True)
    workers = await asyncio.gather(*(rig.worker(str(number), "slow") for number in range(3)))
    assert len({worker.pid for worker in workers}) == 3
    for number in range(3):
        await rig.facts(f"worker/{number}")


async def test_a_fork_that_waits_for_a_zygote_that_fails_is_refused(rig: Rig) -> None:
    await rig.base()
    (rig.bundle / "slow.py").write_text("import time\ntime.sleep(0.2)\nraise ValueError('late')\n")
    start = workload_pb2.WorkloadStart(
        zygote=workload_pb2.ZygoteStart(code=common_pb2.Code(module="slow")),
        directory=str(rig.bundle),
    ).SerializeToString()
    await rig.own.start("zygote/slow", zygote="zygote/base", start=start, is_zygote=True)
    with pytest.raises(FailedPreconditionError, match="its import failed: late"):
        await rig.worker("one", "slow")
