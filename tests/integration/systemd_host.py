"""A real systemd with our units, as the first process of namespaces of its own.

It has a copy of `/etc`, an empty `/run` and `/var/lib`, and a network of its own
with the addresses of the example files. The virtual environment of the tests is
its `/opt/callmesh`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from mesh import ROOT, eventually

UNITS = ROOT / "deploy" / "systemd"
INIT = Path("/lib/systemd/systemd")
TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit", "umount")
ADDRESSES = ("10.0.0.1", "10.0.0.2")
# Where the tests run from may be hidden from services; their output has no journal.
DROP_IN = """[Service]
ProtectHome=no
BindReadOnlyPaths={paths}
StandardOutput=append:{log}
StandardError=append:{log}
"""


def require() -> None:
    """Skip the test, with the reason, where no systemd can be run."""
    if not INIT.exists() or not shutil.which("systemctl"):
        pytest.skip("tests of the systemd units: systemd is not installed")
    if os.geteuid() != 0 or _cgroups() is None:
        pytest.skip("tests of the systemd units: root and a cgroup2 hierarchy run a systemd")


def _cgroups() -> Path | None:
    """Where the unified hierarchy is, on this machine."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


class SystemdHost:
    """A running systemd; every command is run inside."""

    def __init__(self, folder: Path, init: int) -> None:
        self.folder = folder
        self._inside = ["nsenter", f"--target={init}", "--mount", "--pid", "--cgroup", "--net"]

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command as root inside; what it printed."""
        done = subprocess.run(
            [*self._inside, *command],
            env={**os.environ, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        told = f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        assert not (check and done.returncode), f"{told}\n{self.log()}"
        return done.stdout + done.stderr

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run `systemctl`."""
        return self.run("systemctl", *arguments, check=check).strip()

    def callmesh(self, *arguments: str, check: bool = True) -> str:
        """Run `callmesh` as the guide says: as root, with the server's state folder."""
        found = "/var/lib/callmesh-server"
        return self.run(
            "/opt/callmesh/bin/callmesh", *arguments, check=check, CALLMESH_STATE_DIR=found
        )

    def pids(self, unit: str) -> list[int]:
        """The processes of a unit, as the init's namespace numbers them."""
        listed = self.run("cat", f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs", check=False)
        return [int(line) for line in listed.split() if line.isdigit()]

    def main_pid(self, unit: str) -> int:
        """The main process of a unit; 0 while it has none."""
        return int(self.systemctl("show", "--property=MainPID", "--value", unit))

    def owner(self, pid: int) -> str:
        """The user of a process, by number."""
        return self.run("stat", "-c", "%u", f"/proc/{pid}").strip()

    def log(self) -> str:
        """What systemd and the units have said."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def running(folder: Path) -> Iterator[SystemdHost]:
    """A systemd for the block; all of it is killed afterwards."""
    cgroups = _cgroups()
    assert cgroups is not None
    group = cgroups / f"callmesh-test-{os.getpid()}"
    _write_units(folder)
    script = folder / "boot.sh"
    script.write_text(_boot_script(folder))
    group.mkdir()
    try:
        into = f"echo $$ > {group}/cgroup.procs; exec unshare --mount --pid --cgroup --net "
        starter = subprocess.Popen(
            ["sh", "-c", f"{into} --ipc --uts --fork --kill-child sh -e {script}"],
            start_new_session=True,
        )
        try:
            yield _booted(folder, starter)
        finally:
            starter.kill()
            starter.wait()
    finally:
        eventually(20, "the control group is empty", lambda: _is_removed(group))


def _booted(folder: Path, starter: subprocess.Popen[bytes]) -> SystemdHost:
    def init() -> SystemdHost | None:
        for child in psutil.Process(starter.pid).children():
            if Path(child.exe()).name == "systemd":
                host = SystemdHost(folder, child.pid)
                answer = host.systemctl("is-system-running", check=False)
                return host if answer in ("running", "degraded") else None
        assert starter.poll() is None, (folder / "systemd.log").read_text()
        return None

    found: SystemdHost = eventually(30, "systemd runs", init)
    return found


def _is_removed(group: Path) -> bool:
    for path in sorted(group.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def _write_units(folder: Path) -> None:
    units = folder / "units"
    units.mkdir()
    for target in TARGETS:
        (units / f"{target}.target").write_text(
            f"[Unit]\nDescription={target}\nDefaultDependencies=no\n"
        )
    for unit in UNITS.glob("*.service"):
        shutil.copy(unit, units)
        drop_in = units / f"{unit.name}.d"
        drop_in.mkdir()
        log = folder / f"{unit.stem}.log"
        (drop_in / "tests.conf").write_text(
            DROP_IN.format(paths=f"{ROOT} {sys.base_prefix}", log=log)
        )


def _boot_script(folder: Path) -> str:
    return "\n".join(
        [
            f"exec > {folder}/systemd.log 2>&1",
            "mount --make-rprivate /",
            "mount -t proc proc /proc",
            f"cp -a /etc {folder}/etc",
            f"mount --bind {folder}/etc /etc",
            "mkdir -p /etc/callmesh",
            f"cp {UNITS}/*.env /etc/callmesh/",
            *_reachable(folder),
            f"mkdir {folder}/venv",
            f"mount --bind {sys.prefix} {folder}/venv",
            "mount -t tmpfs -o mode=755 tmpfs /opt",
            "mkdir /opt/callmesh",
            f"mount --bind {folder}/venv /opt/callmesh",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            "mount -t tmpfs -o mode=755 tmpfs /var/lib",
            "umount --lazy /sys/fs/cgroup",
            "mount -t tmpfs tmpfs /sys/fs/cgroup || true",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            f"systemd-sysusers {UNITS}/callmesh.sysusers",
            "ip link set lo up",
            *(f"ip address add {each}/32 dev lo" for each in ADDRESSES),
            "mount --make-rshared /",
            f"export container=other SYSTEMD_UNIT_PATH={folder}/units SYSTEMD_LOG_TARGET=console",
            f"exec {INIT} --system --unit=multi-user.target",
            "",
        ]
    )


def _reachable(folder: Path) -> Iterator[str]:
    """Commands that let other users come to the interpreter and the code, whatever is above."""
    paths = {Path(sys.base_prefix), ROOT}
    closed = {
        parent for path in paths for parent in path.parents if not parent.stat().st_mode & 0o001
    }
    tops = {each for each in closed if not closed & set(each.parents)}
    hidden = [path for path in paths if tops & set(path.parents)]
    for number, path in enumerate(hidden):
        yield f"mkdir {folder}/hidden{number}; mount --bind {path} {folder}/hidden{number}"
    for top in tops:
        yield f"mount -t tmpfs -o mode=755 tmpfs {top}"
    for number, path in enumerate(hidden):
        yield f"mkdir -p {path}; mount --bind {folder}/hidden{number} {path}"
