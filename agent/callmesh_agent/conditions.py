"""What holds of this node: one condition of each type, as the server shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callmesh_agent import ports
from callmesh_agent.xds.rejections import Rejection
from callmeshpb.v1 import common_pb2

Report = Callable[[Sequence[common_pb2.Condition]], None]
ReportPorts = Callable[[Sequence[int]], None]
# As Envoy says it.
_CANNOT_BIND = "cannot bind"


class Conditions:
    """Keeps them, and reports all whenever one changes."""

    def __init__(self, report: Report, report_ports: ReportPorts) -> None:
        """``report_ports`` hears which mesh ports somebody else has."""
        self._report = report
        self._report_ports = report_ports
        self._ports: list[int] = []
        self._kept: dict[str, common_pb2.Condition] = {}

    def set(self, kind: str, *, holds: bool, reason: str, message: str) -> None:
        """Say whether a condition holds, and why."""
        status = common_pb2.CONDITION_STATUS_TRUE if holds else common_pb2.CONDITION_STATUS_FALSE
        known = self._kept.get(kind)
        same = (status, reason, message)
        if known is not None and (known.status, known.reason, known.message) == same:
            return
        condition = common_pb2.Condition(type=kind, status=status, reason=reason, message=message)
        condition.changed_at.GetCurrentTime()
        self._kept[kind] = condition
        self._report(list(self._kept.values()))

    def clear(self, kind: str) -> None:
        """It no longer holds, nor is there anything to say about it."""
        if self._kept.pop(kind, None) is not None:
            self._report(list(self._kept.values()))

    def envoy_ready(self) -> None:
        """Envoy takes calls."""
        self.set("EnvoyReady", holds=True, reason="Serving", message="")

    def envoy_away(self, message: str) -> None:
        """Envoy does not take calls."""
        self.set("EnvoyReady", holds=False, reason="NotServing", message=message)

    def view_problem(self, message: str) -> None:
        """Why the mesh view cannot be served; "": it can be."""
        self._missing_or_clear("ViewConsistent", "Inconsistent", message)

    def keeping_problem(self, message: str) -> None:
        """Why what the node shall run is not on its disk; "": it is."""
        self._missing_or_clear("StateKept", "NotWritten", message)

    def endpoints_problem(self, message: str) -> None:
        """Why the endpoints are not on disk for the code that runs here; "": they are."""
        self._missing_or_clear("EndpointsWritten", "NotWritten", message)

    def rejected(self, rejections: Sequence[Rejection], port_of: Callable[[str], int]) -> None:
        """What Envoy refused: a listener's port that somebody else has, or our mistake."""
        taken, others, refused = [], [], []
        for each in rejections:
            port = port_of(each.name) if each.type == "Listener" else 0
            holder = ports.holder(port) if port else None
            if port and (holder is not None or _CANNOT_BIND in each.message):
                refused.append(port)
            if port and holder is not None:
                taken.append(
                    f"port {port} of `{each.name}` is held by {holder}: end that, and the mesh "
                    "takes the port by itself"
                )
            else:
                others.append(f"{each.client} refused {each.type} `{each.name}`: {each.message}")
        if sorted(refused) != self._ports:
            self._ports = sorted(refused)
            self._report_ports(self._ports)
        self._set_or_clear("PortConflict", "PortTaken", taken)
        self._set_or_clear("ConfigurationRejected", "Rejected", others)

    def _set_or_clear(self, kind: str, reason: str, messages: list[str]) -> None:
        if messages:
            self.set(kind, holds=True, reason=reason, message="; ".join(messages))
        else:
            self.clear(kind)

    def _missing_or_clear(self, kind: str, reason: str, message: str) -> None:
        if message:
            self.set(kind, holds=False, reason=reason, message=message)
        else:
            self.clear(kind)
