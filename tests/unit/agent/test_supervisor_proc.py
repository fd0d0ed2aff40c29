"""What the kernel says of processes, asked about this one and its children."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.locks import take


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"], env={"A": "x=y"}, start_new_session=True) as child:
        try:
            # `Popen` returns before the kernel shows the new environment.
            until = time.monotonic() + 10
            while not proc.environment(child.pid) and time.monotonic() < until:
                time.sleep(0.001)
            yield child
        finally:
            child.kill()


def test_a_process_is_known_by_pid_and_start(sleeper: subprocess.Popen[bytes]) -> None:
    ticks = proc.start_ticks(sleeper.pid)
    assert ticks >= proc.start_ticks(os.getpid()) > 0
    os.close(proc.open_pidfd(sleeper.pid, ticks))
    with pytest.raises(ProcessLookupError):
        proc.open_pidfd(sleeper.pid, ticks + 1)
    assert proc.environment(sleeper.pid) == {"A": "x=y"}
    assert sleeper.pid in proc.children(os.getpid())


def test_there_is_no_start_of_what_is_not_there() -> None:
    assert proc.start_ticks(2**22 + 1) == 0


def test_the_status_of_a_child_is_had_once_and_of_others_never() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    pidfd = os.pidfd_open(pid)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    ended = proc.reap(pid)
    assert ended is not None
    assert ended.status == 5
    assert ended.peak > 1 << 20
    assert proc.reap(pid) is None
    os.close(pidfd)


def test_holders_are_those_that_have_the_file_open(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert proc.holders(path) == []
    lock = take(path)
    assert lock is not None
    script = "sleep 60 & exec sleep 60"
    with subprocess.Popen(
        ["/bin/sh", "-c", script], pass_fds=[lock], start_new_session=True
    ) as leader:
        os.close(lock)
        try:
            until = time.monotonic() + 5
            while len(found := proc.holders(path)) < 2 and time.monotonic() < until:
                os.sched_yield()
            assert found[0] == leader.pid
            assert len(found) == 2
        finally:
            os.killpg(leader.pid, 9)
