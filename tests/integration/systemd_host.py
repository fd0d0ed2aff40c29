"""A real systemd with our units, as the first process of a sealed machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sealed
from mesh import ROOT, eventually
from sealed import CALLMESH, Sealed

UNITS = ROOT / "deploy" / "systemd"
INIT = Path("/lib/systemd/systemd")
TARGETS = ("basic", "multi-user", "network-online", "sysinit")
# As they are, from systemd itself.
ENDS = (
    "final.target", "poweroff.target", "shutdown.target", "systemd-poweroff.service",
    "umount.target",
)  # fmt: skip
# Where the tests run from may be hidden from services; their output has no journal.
DROP_IN = """[Service]
ProtectHome=no
BindReadOnlyPaths={paths}
StandardOutput=append:{log}
StandardError=append:{log}
"""


def require() -> None:
    """Skip the test, with the reason, where no systemd can be run."""
    what = "tests of the systemd units"
    sealed.require(what)
    if not INIT.exists() or not shutil.which("systemctl"):
        pytest.skip(f"{what}: systemd is not installed")
    if _cgroups() is None:
        pytest.skip(f"{what}: there is no cgroup2 hierarchy")


def _cgroups() -> Path | None:
    """Where the unified hierarchy is, on this machine."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


class SystemdHost(Sealed):
    """A running systemd; every command is run inside."""

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run `systemctl`."""
        return self.run("systemctl", *arguments, check=check).strip()

    def callmesh(self, *arguments: str, check: bool = True) -> str:
        """Run `callmesh` as the guide says: as root, with the server's state folder."""
        found = "/var/lib/callmesh-server"
        return self.run(CALLMESH, *arguments, check=check, CALLMESH_STATE_DIR=found)

    def install(self) -> None:
        """Put units, their options and the user where they belong."""
        self.run("sh", "-c", f"cp {UNITS}/*.service /etc/systemd/system/")
        self.run("sh", "-c", f"mkdir /etc/callmesh; cp {UNITS}/*.env /etc/callmesh/")
        self.run("systemd-sysusers", f"{UNITS}/callmesh.sysusers")
        self.systemctl("daemon-reload")

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


@contextmanager
def running(folder: Path) -> Iterator[SystemdHost]:
    """A systemd for the block; all of it is killed afterwards."""
    cgroups = _cgroups()
    assert cgroups is not None
    group = cgroups / f"callmesh-test-{os.getpid()}-{folder.name}"
    _write_units(folder)
    group.mkdir()
    try:
        into = f"echo $$ > {group}/cgroup.procs; "
        with sealed.booted(folder, _boot(folder), "systemd", into) as machine:
            host = SystemdHost(folder, machine.init)
            eventually(30, "systemd runs", lambda: _is_running(host))
            yield host
    finally:
        eventually(20, "the control group is empty", lambda: _is_removed(group))


def _is_running(host: SystemdHost) -> bool:
    return host.systemctl("is-system-running", check=False) in ("running", "degraded")


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
    for name in ENDS:
        shutil.copy(INIT.parent / "system" / name, units)
    for unit in UNITS.glob("*.service"):
        drop_in = units / f"{unit.name}.d"
        drop_in.mkdir()
        log = folder / f"{unit.stem}.log"
        (drop_in / "tests.conf").write_text(
            DROP_IN.format(paths=f"{ROOT} {sys.base_prefix}", log=log)
        )


def _boot(folder: Path) -> list[str]:
    return [
        f"rm -rf /etc/systemd/system; cp -r {folder}/units /etc/systemd/system",
        "umount --lazy /sys/fs/cgroup",
        "mount -t tmpfs tmpfs /sys/fs/cgroup || true",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        "mount --make-rshared /",
        "export container=other SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_LOG_TARGET=console",
        f"exec {INIT} --system --unit=multi-user.target",
    ]
