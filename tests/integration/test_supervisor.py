"""The supervisor as a process: what it starts, survives, adopts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from supervised import Supervised, pss_megabytes, supervised, wait_for_end

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.client import SupervisorClient
from callmesh_wire.errors import FailedPreconditionError, UnavailableError
from callmeshpb.v1 import supervisor_pb2

SLEEP = ("/bin/sleep", "300")
DEAF = ("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 300; done")
SERVER = """
import os, socket
listener = socket.socket(fileno=int(os.environ["CALLMESH_LISTEN_FD"]))
while True:
    listener.accept()[0].sendall(b"hello")
"""
# Leaves a process in a session of its own, without the lock.
STRAY = """
import subprocess
print(subprocess.Popen(["/bin/sleep", "300"], start_new_session=True).pid, flush=True)
"""


@pytest_asyncio.fixture
async def own() -> AsyncIterator[Supervised]:
    async with supervised() as running:
        yield running


async def by_id(own: Supervised, process_id: str) -> supervisor_pb2.Process:
    (found,) = [each for each in await own.client.list() if each.process_id == process_id]
    return found


async def test_a_process_writes_its_log_and_its_end_is_told_until_forgotten(
    own: Supervised,
) -> None:
    started = await own.start(
        "app/one", "/bin/sh", "-c", "echo $GREETING; exit 7",
        environment={"GREETING": "hello"}, spec_hash="abc", labels={"app": "one"},
    )  # fmt: skip
    assert started.running
    assert started.pid
    assert started.start_ticks
    ended = await own.exited("app/one")
    assert (ended.pid, ended.exit_status, ended.running) == (started.pid, 7, False)
    assert (ended.spec_hash, ended.labels["app"]) == ("abc", "one")
    assert own.log("app/one").read_text() == "hello\n"
    assert own.log("app/one").stat().st_mode & 0o777 == 0o600

    await own.connect()
    assert (await own.exited("app/one")).exit_status == 7
    await own.restart()
    assert (await own.exited("app/one")).exit_status == 7
    await own.client.forget("app/one")
    await own.connect()
    assert await own.client.list() == []
    assert own.exits == []


async def test_the_environment_is_what_was_asked_for_and_nothing_else(own: Supervised) -> None:
    await own.start("app/one", sys.executable, "-c", "import os; print(sorted(os.environ))",
                    environment={"B": "1", "LC_CTYPE": "C.UTF-8"}, pick_port=True)  # fmt: skip
    assert await own.output("app/one") == "['B', 'LC_CTYPE', 'PORT']\n"


async def test_a_second_start_of_a_living_id_is_refused(own: Supervised) -> None:
    first = await own.start("app/one", *SLEEP)
    with pytest.raises(FailedPreconditionError, match=f"running already, as process {first.pid}"):
        await own.start("app/one", *SLEEP)
    await own.client.signal("app/one", signal.SIGKILL)
    assert (await own.exited("app/one")).exit_status == -signal.SIGKILL
    again = await own.start("app/one", *SLEEP)
    assert again.pid != first.pid


async def test_what_cannot_be_executed_says_why_and_leaves_nothing(own: Supervised) -> None:
    with pytest.raises(FailedPreconditionError, match="No such file or directory: `/no/such`"):
        await own.start("app/one", "/no/such")
    with pytest.raises(FailedPreconditionError, match="zygote `zygote/none` is not running"):
        await own.start("app/one", zygote="zygote/none")
    with pytest.raises(FailedPreconditionError, match="`process_id` must be"):
        await own.client.start(supervisor_pb2.StartProcess(process_id="../x", argv=SLEEP))
    assert await own.client.list() == []
    await own.start("app/one", *SLEEP)


async def test_children_that_a_dead_process_left_end_with_it(own: Supervised) -> None:
    await own.start(
        "app/one", "/bin/sh", "-c", "sleep 300 & echo $!; setsid sleep 300 & echo $!; wait"
    )
    left = [int(line) for line in (await own.output("app/one", 2)).split()]
    pidfds = [os.pidfd_open(pid) for pid in left]
    await own.client.signal("app/one", signal.SIGKILL)
    await own.exited("app/one")
    for pidfd in pidfds:
        await wait_for_end(pidfd)
    await own.start("app/one", *SLEEP)


async def test_an_inherited_listener_refuses_at_once_when_its_process_is_dead(
    own: Supervised,
) -> None:
    started = await own.start("app/one", sys.executable, "-c", SERVER, listen=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", started.port)
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await own.client.signal("app/one", signal.SIGKILL)
    await own.exited("app/one")
    with pytest.raises(ConnectionRefusedError), socket.socket() as caller:
        caller.connect(("127.0.0.1", started.port))


async def test_picked_ports_differ_and_are_told(own: Supervised) -> None:
    ports = set()
    for number in range(20):
        name = f"app/{number}"
        started = await own.start(name, "/bin/sh", "-c", "echo $PORT", pick_port=True)
        assert await own.output(name) == f"{started.port}\n"
        ports.add(started.port)
    assert len(ports) == 20
    assert ports <= set(range(10_000, 20_000))


async def test_a_deaf_process_is_killed_after_its_time(own: Supervised) -> None:
    await own.start("app/one", *DEAF)
    await own.output("app/one")
    await own.client.signal("app/one", signal.SIGTERM, kill_after=0.05)
    assert (await own.exited("app/one")).exit_status == -signal.SIGKILL


async def test_what_is_to_be_restarted_is_at_once_and_then_more_slowly(own: Supervised) -> None:
    first = await own.start("envoy", *SLEEP, restart=True)
    loop = asyncio.get_running_loop()
    delays = []
    pid = first.pid
    for number in range(1, 4):
        began = loop.time()
        os.kill(pid, signal.SIGKILL)
        assert (await own.exited("envoy")).exit_status == -signal.SIGKILL
        again = await own.restarted()
        delays.append(loop.time() - began)
        assert again.restarts == number
        assert again.running
        assert again.pid != pid
        pid = again.pid
    print("restarted after " + ", ".join(f"{delay * 1000:.0f} ms" for delay in delays))
    assert delays[1] >= 0.1
    assert delays[2] >= 0.2
    await own.client.signal("envoy", signal.SIGTERM)
    await own.exited("envoy")
    await own.connect()
    assert not (await by_id(own, "envoy")).running
    assert own.restarts.empty()


async def test_a_stop_during_the_backoff_ends_the_restarts(own: Supervised) -> None:
    started = await own.start("envoy", *SLEEP, restart=True)
    os.kill(started.pid, signal.SIGKILL)
    again = await own.restarted()
    os.kill(again.pid, signal.SIGKILL)
    await own.exited("envoy")
    await own.exited("envoy")
    await own.client.signal("envoy", signal.SIGTERM)
    await own.start("envoy", *SLEEP, restart=True)


async def test_a_successor_adopts_the_living_and_tells_of_the_dead(own: Supervised) -> None:
    lives = await own.start("app/lives", *SLEEP, spec_hash="s", labels={"a": "b"})
    dies = await own.start("app/dies", *SLEEP)
    await own.disconnect()
    await own.kill(own.pid)
    await own.kill(dies.pid)
    own.launch()
    await own.connect()
    ended = await own.exited("app/dies")
    assert ended.pid == dies.pid
    assert not ended.HasField("exit_status")
    assert await by_id(own, "app/lives") == lives
    with pytest.raises(FailedPreconditionError, match="running already"):
        await own.start("app/lives", *SLEEP)
    await own.client.signal("app/lives", signal.SIGTERM)
    assert not (await own.exited("app/lives")).HasField("exit_status")


async def test_a_successor_restarts_with_the_environment_that_no_file_holds(
    own: Supervised,
) -> None:
    secret = "only-for-envoy"
    started = await own.start("envoy", "/bin/sh", "-c", "echo $SECRET; sleep 300",
                              environment={"SECRET": secret}, restart=True)  # fmt: skip
    await own.output("envoy", 1)
    kept = [path for path in own.state.rglob("*") if path.is_file()]
    assert kept
    assert not any(secret.encode() in path.read_bytes() for path in kept)
    assert secret not in (own.logs / "supervisor.log").read_text()
    await own.restart()
    await own.kill(started.pid)
    again = await own.restarted()
    assert again.restarts == 1
    assert (await own.output("envoy", 2)).split() == [secret, secret]


async def test_a_start_that_the_supervisor_did_not_live_to_record_is_adopted(
    own: Supervised,
) -> None:
    started = await own.start("app/one", *SLEEP)
    path = next((own.state / "records").iterdir())
    record = supervisor_pb2.ProcessRecord.FromString(path.read_bytes())
    await own.disconnect()
    await own.kill(own.pid)
    record.process.pid = record.process.start_ticks = 0
    path.write_bytes(record.SerializeToString())
    own.launch()
    await own.connect()
    assert (await by_id(own, "app/one")).pid == started.pid


async def test_deaths_in_the_middle_of_starts_lose_and_double_nothing(own: Supervised) -> None:
    source = random.Random(7)
    mark = f"300.{os.getpid()}"
    for turn in range(5):
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(start_or_lose(own, f"app/{number}", mark))
            await asyncio.sleep(source.uniform(0.0, 0.03))
            await own.restart()
        told = {each.pid for each in await own.client.list() if each.running}
        assert set(marked(mark)) == told, f"in turn {turn}"
    await own.client.shutdown(5)
    assert marked(mark) == []


async def start_or_lose(own: Supervised, process_id: str, mark: str) -> None:
    with contextlib.suppress(UnavailableError, FailedPreconditionError):
        await own.start(process_id, "/bin/sleep", mark)


def marked(mark: str) -> list[int]:
    """Processes that were started with this argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().endswith(f"/bin/sleep\0{mark}\0".encode()):
                found.append(int(folder.name))
    return found


async def test_there_is_one_supervisor_for_a_folder(own: Supervised) -> None:
    assert own.launch() == own.pid
    second = subprocess.run(
        [sys.executable, "-m", "callmesh_agent.supervisor",
         "--socket", own.folder / "other.sock", "--state", own.state],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 3
    assert f"is process {own.pid}" in second.stderr
    assert not (own.folder / "other.sock").exists()


async def test_a_stale_socket_is_replaced(own: Supervised) -> None:
    first = own.pid
    await own.restart()
    assert own.pid != first
    assert own.socket.stat().st_mode & 0o777 == 0o600


async def test_a_new_connection_replaces_the_old(own: Supervised) -> None:
    old = own.client
    newer = SupervisorClient(own.socket)
    async with asyncio.TaskGroup() as group:
        line = group.create_task(newer.run(lambda _: None, lambda _: None))
        assert await newer.list() == []
        with pytest.raises(UnavailableError):
            await old.list()
        line.cancel()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
async def test_another_user_gets_no_answer(own: Supervised) -> None:
    own.folder.chmod(0o755)
    own.socket.chmod(0o666)
    code = (
        "import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect({str(own.socket)!r}); print(s.recv(10))"
    )
    asked = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert asked.stdout == "b''\n"
    await own.client.list()


@pytest.mark.parametrize("by_signal", [False, True])
async def test_its_end_is_everything_s_end(own: Supervised, by_signal: bool) -> None:
    processes = [
        await own.start("envoy", *SLEEP, restart=True),
        await own.start("app/one", *SLEEP),
        await own.start("app/stray", sys.executable, "-c", STRAY),
    ]
    stray = int(await own.output("app/stray"))
    await own.exited("app/stray")
    pidfds = [os.pidfd_open(pid) for pid in (processes[0].pid, processes[1].pid, stray)]
    supervisor = os.pidfd_open(own.pid)
    if by_signal:
        os.kill(own.pid, signal.SIGTERM)
    else:
        await own.client.shutdown(5)
    for pidfd in (*pidfds, supervisor):
        await wait_for_end(pidfd)
    assert not own.socket.exists()
    assert list(own.state.iterdir()) == []
    assert [each.process_id for each in own.exits] == ["app/one", "envoy"]


async def test_at_its_end_the_deaf_are_killed_after_the_grace(own: Supervised) -> None:
    started = await own.start("app/one", *DEAF)
    await own.output("app/one")
    pidfd = os.pidfd_open(started.pid)
    assert await own.client.end_supervisor(0.1)
    await wait_for_end(pidfd)
    assert list(own.state.iterdir()) == []
    assert not await own.client.end_supervisor(0.1)


async def test_strangers_that_it_inherits_are_reaped(own: Supervised) -> None:
    await own.start("app/one", "/bin/sh", "-c", "(setsid sleep 0.05 & echo $!); sleep 300")
    stranger = int(await own.output("app/one"))
    pidfd = os.pidfd_open(stranger)
    await wait_for_end(pidfd)
    async with asyncio.timeout(5):
        while proc.start_ticks(stranger):
            await asyncio.sleep(0.005)
    assert (await by_id(own, "app/one")).running


async def test_it_is_small(own: Supervised) -> None:
    for number in range(10):
        await own.start(f"app/{number}", *SLEEP)
    size = pss_megabytes(own.pid)
    print(f"supervisor: {size:.1f} MB PSS with ten processes")
    assert size <= 25
    maps = (await asyncio.to_thread(open, f"/proc/{own.pid}/maps")).read()
    assert "grpc" not in maps
    assert "libssl" not in maps
