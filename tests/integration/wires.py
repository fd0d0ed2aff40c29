"""The wires of a test's network: one bridge, a veth to each host, and what may befall them.

Nothing is added to the machine's own network: the bridge is in a namespace of
its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from namespaces import Namespace, ip, new_group

SUBNET = "10.77.0"
_SIOCETHTOOL = 0x8946
# Set generic receive, generic send, segmentation and checksum offload.
_OFFLOADS = (0x2C, 0x24, 0x1F, 0x17)


class Wire:
    """What joins one host to the switch."""

    def __init__(self, switch: Namespace, host: Namespace, address: str) -> None:
        self.address = address
        self._switch = switch
        self._port = host.host
        self._forwarder: subprocess.Popen[str] | None = None
        ip("link", "add", self._port, "netns", switch.name,
           "type", "veth", "peer", "name", "eth0", "netns", host.name)  # fmt: skip
        with host.inside():
            _turn_off_offloads("eth0")
        ip("-n", host.name, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", host.name, "link", "set", "eth0", "up")
        ip("-n", switch.name, "link", "set", self._port, "up")
        self._attach()

    def cut(self) -> None:
        """Nothing passes any more, and nobody is told; as when a switch dies."""
        self.stop_forwarder()
        ip("-n", self._switch.name, "link", "set", self._port, "nomaster")

    def heal(self) -> None:
        """As it was at first."""
        self.stop_forwarder()
        self._attach()

    def lossy(self, loss: float, delay: float, seed: int = 1) -> None:
        """Lose a share of the frames and hold back the others, ``delay`` seconds each way.

        The kernel's `netem` is not everywhere: a small process carries the frames
        (`lossy_wire.py`). ``seed`` decides which are lost.
        """
        self.cut()
        inner, outer = f"{self._port}-i", f"{self._port}-o"
        name = self._switch.name
        ip("-n", name, "link", "add", inner, "type", "veth", "peer", "name", outer)
        ip("-n", name, "link", "set", inner, "up")
        ip("-n", name, "link", "set", outer, "master", "br0", "up")
        with self._switch.inside():
            self._forwarder = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("lossy_wire.py"), self._port, inner,
                 str(loss), str(delay), str(seed)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._forwarder.stdout
        assert self._forwarder.stdout.readline() == "ready\n"

    def carried(self) -> dict[str, int]:
        """What became of the frames of a lossy wire so far: `passed`, `lost`, `overflowed`."""
        assert self._forwarder
        assert self._forwarder.stdin
        assert self._forwarder.stdout
        self._forwarder.stdin.write("\n")
        self._forwarder.stdin.flush()
        told: dict[str, int] = json.loads(self._forwarder.stdout.readline())
        return told

    def _attach(self) -> None:
        ip("-n", self._switch.name, "link", "set", self._port, "master", "br0")

    def stop_forwarder(self) -> None:
        """A lossy wire carries nothing any more."""
        if not self._forwarder:
            return
        self._forwarder.send_signal(signal.SIGKILL)
        self._forwarder.communicate()
        self._forwarder = None
        ip("-n", self._switch.name, "link", "delete", f"{self._port}-i")


class Network:
    """Hosts on one bridge, ``10.77.0.0/24``; `close` it at the end."""

    def __init__(self) -> None:
        self.group = new_group()
        self.hosts: dict[str, Namespace] = {}
        self.wires: dict[str, Wire] = {}
        self._switch = Namespace("switch", self.group)
        name = self._switch.name
        with self._switch.inside():  # a bridge sends nothing of its own
            for scope in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        ip("-n", name, "link", "add", "br0", "type", "bridge")
        ip("-n", name, "link", "set", "br0", "up")

    def add(self, host: str) -> Namespace:
        """A host with the next free address."""
        made = self.hosts[host] = Namespace(host, self.group)
        self.wires[host] = Wire(self._switch, made, f"{SUBNET}.{len(self.hosts)}")
        return made

    def close(self) -> list[str]:
        """Take it all away; the processes that were left on the hosts, killed."""
        for wire in self.wires.values():
            wire.stop_forwarder()
        left = [told for host in self.hosts.values() for told in host.remove()]
        self._switch.remove()
        return left


def _turn_off_offloads(interface: str) -> None:
    """Frames leave as on a cable, whole and with checksums: the forwarder sees them raw."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS:
            off = (ctypes.c_uint32 * 2)(command, 0)
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(off))
            fcntl.ioctl(any_socket.fileno(), _SIOCETHTOOL, request)
