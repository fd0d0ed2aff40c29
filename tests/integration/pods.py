"""The pods of the Kubernetes manifest, started as a kubelet starts them.

There is no image and no cluster: each pod is a process in a mount and PID
namespace, with the manifest's arguments, environment, volumes, user, privileges
and read-only root. Its `$(POD_IP)` is an address of a sealed machine, and the
Service's name is in that machine's `/etc/hosts`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sealed
import yaml
from mesh import ROOT, eventually
from sealed import ADDRESSES, Sealed

MANIFEST = ROOT / "deploy" / "kubernetes" / "callmesh.yaml"
SECRET = "callmesh-join-token"


OBJECTS = {
    (each["kind"], each["metadata"]["name"]): each
    for each in yaml.safe_load_all(MANIFEST.read_text())
}


def has(kind: str, name: str) -> bool:
    """Whether the manifest has an object."""
    return (kind, name) in OBJECTS


def spec_of(kind: str, name: str) -> dict[str, Any]:
    """The pod that an object of the manifest makes."""
    found: dict[str, Any] = OBJECTS[kind, name]["spec"]["template"]["spec"]
    return found


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A machine for pods."""
    lines = [
        "echo callmesh:x:10001:10001::/var/lib/callmesh:/bin/sh >> /etc/passwd",
        f"echo {ADDRESSES[0]} callmesh-server >> /etc/hosts",
        "mkdir /var/lib/callmesh /run/callmesh /run/join-token",
        "exec sleep infinity",
    ]
    with sealed.booted(folder, lines, "sleep") as machine:
        yield Cluster(machine)


@dataclass
class Pod:
    """One pod, running."""

    machine: Sealed
    starter: subprocess.Popen[str]
    user: list[str]
    environment: dict[str, str]
    log: Path

    @property
    def main(self) -> psutil.Process:
        """The container's first process."""
        found: psutil.Process = eventually(10, "it runs", self._first)
        return found

    def _first(self) -> psutil.Process | None:
        assert self.starter.poll() is None, self.log.read_text()
        below = psutil.Process(self.starter.pid).children(recursive=True)
        return next((each for each in below if "callmesh_up" in each.cmdline()), None)

    def exec(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as `kubectl exec` and exec probes do."""
        inside = ["nsenter", f"--target={self.main.pid}", "--mount", "--pid", "--net", "--"]
        return subprocess.run(
            [*inside, *self.user, *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def accepts(self, address: str, port: int) -> bool:
        """What a `tcpSocket` probe asks."""
        tried = self.machine.run(
            "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port} && echo yes", check=False
        )
        return tried.endswith("yes\n")

    def end(self) -> int:
        """TERM, as at the pod's deletion; the container's exit code."""
        self.main.send_signal(signal.SIGTERM)
        return self.starter.wait(60)


class Cluster:
    """Pods on one machine, with volumes that outlive them."""

    def __init__(self, machine: Sealed) -> None:
        self.machine = machine
        self.volumes = machine.folder / "volumes"
        self.volumes.mkdir()

    def create_secret(self, token: str) -> None:
        """The Secret of the join token; a volume of it is root's, for the pod's fsGroup to read."""
        folder = self.volumes / SECRET
        folder.mkdir()
        file = folder / "join.token"
        file.write_text(token)
        os.chown(file, 0, 10001)
        file.chmod(0o440)

    def start(self, name: str, spec: dict[str, Any], **fields: str) -> Pod:
        """Start a pod. ``fields`` are what the downward API says, by variable."""
        (container,) = spec["containers"]
        context = spec["securityContext"]
        for each in spec.get("initContainers", []):
            self._run_first(spec, each)
        environment = {
            "PATH": f"/opt/callmesh/bin:{os.defpath}",
            "HOME": "/var/lib/callmesh",
            "NO_COLOR": "1",
        }
        for each in container["env"]:
            environment[each["name"]] = each.get("value") or fields[each["name"]]
        arguments = [
            re.sub(r"\$\(([^)]*)\)", lambda match: environment[match[1]], each)
            for each in container["args"]
        ]
        user = _as_user(context["runAsUser"], context["fsGroup"])
        log = self.machine.folder / f"{name}.log"
        with log.open("a") as output:
            starter = subprocess.Popen(
                self._pod(spec, container, [*user, *arguments]),
                env=environment,
                stdout=output,
                stderr=output,
                text=True,
            )
        return Pod(self.machine, starter, user, environment, log)

    def _run_first(self, spec: dict[str, Any], container: dict[str, Any]) -> None:
        added = ",".join(
            f"+{each.lower()}" for each in container["securityContext"]["capabilities"]["add"]
        )
        allowed = ["setpriv", f"--bounding-set=-all,{added}", "--no-new-privs"]
        command = self._pod(spec, container, [*allowed, *container["command"]])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr

    def _pod(
        self, spec: dict[str, Any], container: dict[str, Any], command: list[str]
    ) -> list[str]:
        sources = {each["name"]: self._volume(each) for each in spec["volumes"]}
        lines = ["set -e", "mount -t proc proc /proc"]
        for each in container["volumeMounts"]:
            # The code that is tested may be below /tmp.
            if Path(each["mountPath"]) not in ROOT.parents:
                lines.append(f"mount --bind {sources[each['name']]} {each['mountPath']}")
        if container["securityContext"].get("readOnlyRootFilesystem"):
            lines.append("mount -o remount,bind,ro /")
        lines.append('exec "$@"')
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return self.machine.command(*unshare, "sh", "-c", "\n".join(lines), "sh", *command)

    def _volume(self, volume: dict[str, Any]) -> Path:
        """The folder of a volume, with the owner and mode that the kubelet gives it."""
        if "secret" in volume:
            return self.volumes / str(volume["secret"]["secretName"])
        (source,) = (key for key in volume if key != "name")
        told = volume[source]
        folder = (
            self.volumes
            / f"{source}{told.get('claimName') or told.get('path') or ''}".replace("/", "-")
        )
        if source == "emptyDir":
            folder = self.volumes / f"{source}-{len(list(self.volumes.iterdir()))}"
        if not folder.exists():
            folder.mkdir()
            if source != "hostPath":
                os.chown(folder, 0, 10001)
                folder.chmod(0o2777 if source == "emptyDir" else 0o2775)
        return folder


def _as_user(user: int, group: int) -> list[str]:
    return [
        "setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={group}",
        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
    ]  # fmt: skip
