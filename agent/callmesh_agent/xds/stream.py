"""One client's xDS stream as a state machine: requests and snapshots in, pushes out.

Pure. State of the world: a push of clusters or listeners holds all of them, a
push of endpoints or routes only those that differ from what was sent last.
There is one unanswered push per type at most, so a client that is slow gets
fewer and larger ones.

Envoy gets make-before-break order:

1. clusters, new and old ones together;
2. endpoints, without waiting: Envoy acks clusters only once each new or changed
   one has its endpoints. A changed cluster waits for them afresh although
   Envoy's request looks like an ack, so they count as never sent;
3. listeners and routes, once clusters and endpoints are answered;
4. clusters without the old ones, once listeners and routes are answered.

gRPC asks by name, walks from listener to endpoints by itself, and needs none
of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, KINDS, LISTENER, ROUTES, TYPE_PREFIX
from callmesh_agent.xds.packing import Resource
from callmesh_agent.xds.rejections import Rejection, split
from callmesh_agent.xds.resources import endpoints as assignment
from callmesh_agent.xds.snapshot import ResourceSet, Snapshot

_WHOLE = (CLUSTER, LISTENER)


class Client(Enum):
    """Who is at the other end."""

    ENVOY = "envoy"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Push:
    """A response to send."""

    kind: str
    version: int
    nonce: str
    resources: tuple[Resource, ...]


@dataclass(slots=True)
class _Subscription:
    """What is known of one type on one stream."""

    # The client has asked for this type.
    asked: bool = False
    # Names asked for; meaningless for Envoy's clusters and listeners.
    names: frozenset[str] = frozenset()
    # What was last sent and is still asked for.
    sent: dict[str, Resource] = field(default_factory=dict)
    # Something was sent, if only "there is none".
    answered_once: bool = False
    # The nonce of a push that the client has not answered, or empty.
    awaited: str = ""
    rejected: dict[str, Rejection] = field(default_factory=dict)


class Stream:
    """The state of one stream. Feed it, then send what `due` returns, in order."""

    def __init__(self) -> None:
        self.client: Client | None = None
        # The newest snapshot whose endpoints the client has taken; 0: none.
        self.endpoints_version = 0
        # The newest snapshot that the client has taken whole; 0: none.
        self.whole_version = 0
        self._target: Snapshot | None = None
        self._subscriptions = {kind: _Subscription() for kind in KINDS}
        self._pushes = 0

    def set_target(self, snapshot: Snapshot) -> None:
        """What the client shall have from now on."""
        self._target = snapshot

    def receive(self, request: Any) -> None:
        """Take a DiscoveryRequest: a subscription, an ack, or a rejection."""
        kind = request.type_url.removeprefix(TYPE_PREFIX)
        if self.client is None:
            self.client = _client(request, kind)
        if kind not in KINDS:
            return
        subscription = self._subscriptions[kind]
        subscription.asked = True
        subscription.names = frozenset(request.resource_names)
        if not self._is_wildcard(kind):
            for name in subscription.sent.keys() - subscription.names:
                del subscription.sent[name]
        if not subscription.awaited or request.response_nonce != subscription.awaited:
            return
        subscription.awaited = ""
        subscription.rejected = {}
        if request.HasField("error_detail"):
            self._rejected(kind, subscription, request.error_detail.message)

    def due(self) -> list[Push]:
        """What to send now. Every push returned counts as sent."""
        if self._target is None or self.client is None:
            return []
        pushes = self._due_to_envoy() if self.client is Client.ENVOY else self._due_to_grpc()
        if not self._awaits(CLUSTER, ENDPOINTS) and not self._subscriptions[ENDPOINTS].rejected:
            self.endpoints_version = self._target.version
        if self._has_all():
            self.whole_version = self._target.version
        return pushes

    @property
    def rejections(self) -> list[Rejection]:
        """What the client does not take, as of its last answers."""
        return [r for s in self._subscriptions.values() for r in s.rejected.values()]

    def retry_rejected(self) -> None:
        """Send what was rejected once more: what was in its way may be gone.

        What is on its way already stays: its answer has to find it there.
        """
        for subscription in self._subscriptions.values():
            if subscription.awaited:
                continue
            for name in subscription.rejected:
                subscription.sent.pop(name, None)

    def _has_all(self) -> bool:
        """Every resource was sent and answered, if only by a refusal.

        Routes are asked for by the listener that needs them, so those of a
        refused one are not.
        """
        if self._awaits(*KINDS):
            return False
        refused = self._subscriptions[LISTENER].rejected
        target = self._resources()
        return not any(
            name not in refused for kind in KINDS for name in self._changed(kind, target.of(kind))
        )

    def _due_to_envoy(self) -> list[Push]:
        target = self._resources()
        pushes = []
        if not self._awaits(CLUSTER):
            leaving = self._leaving(CLUSTER, target.clusters)
            changed = self._changed(CLUSTER, {**leaving, **target.clusters})
            pushes += self._push_whole(CLUSTER, {**leaving, **target.clusters}, changed)
            for name in changed:
                self._subscriptions[ENDPOINTS].sent.pop(name, None)
        pushes += self._push_changed(ENDPOINTS, {**self._orphans(), **target.endpoints})
        if not self._awaits(CLUSTER, ENDPOINTS):
            if not self._awaits(LISTENER):
                changed = self._changed(LISTENER, target.listeners)
                gone = self._leaving(LISTENER, target.listeners)
                pushes += self._push_whole(LISTENER, target.listeners, [*changed, *gone])
            if not self._awaits(ROUTES):
                pushes += self._push_changed(ROUTES, target.routes)
        if not self._awaits(CLUSTER, ENDPOINTS, LISTENER, ROUTES):
            leaving = self._leaving(CLUSTER, target.clusters)
            if leaving:
                pushes += self._push_whole(CLUSTER, target.clusters, list(leaving))
        return pushes

    def _orphans(self) -> dict[str, Resource]:
        """Nothing, for clusters that were taken back before they had endpoints.

        Without an answer Envoy would wait for them, and ack nothing, for 15 s.
        """
        endpoints = self._subscriptions[ENDPOINTS]
        unanswered = endpoints.names - endpoints.sent.keys()
        leaving = self._leaving(CLUSTER, self._resources().clusters) if unanswered else {}
        return {name: assignment(name, ()) for name in unanswered & leaving.keys()}

    def _due_to_grpc(self) -> list[Push]:
        target = self._resources()
        pushes = []
        for kind in KINDS:
            subscription = self._subscriptions[kind]
            if subscription.awaited:
                continue
            of_kind = target.of(kind)
            if kind not in _WHOLE:
                pushes += self._push_changed(kind, of_kind)
                continue
            wanted = {name: of_kind[name] for name in subscription.names if name in of_kind}
            changed = self._changed(kind, wanted) + list(self._leaving(kind, wanted))
            # Silence about a name that does not exist is what the protocol
            # asks for; the client's own timer decides that it does not.
            if changed:
                pushes += self._push_whole(kind, wanted, changed)
        return pushes

    def _resources(self) -> ResourceSet:
        assert self._target is not None
        return self._target.envoy if self.client is Client.ENVOY else self._target.grpc

    def _is_wildcard(self, kind: str) -> bool:
        return self.client is Client.ENVOY and kind in _WHOLE

    def _awaits(self, *kinds: str) -> bool:
        return any(self._subscriptions[kind].awaited for kind in kinds)

    def _changed(self, kind: str, wanted: Mapping[str, Resource]) -> list[str]:
        """Names that the client does not have as they are wanted."""
        sent = self._subscriptions[kind].sent
        return [name for name, item in wanted.items() if not _same(sent.get(name), item)]

    def _leaving(self, kind: str, wanted: Mapping[str, Resource]) -> dict[str, Resource]:
        """What the client has and shall not keep."""
        sent = self._subscriptions[kind].sent
        return {name: item for name, item in sent.items() if name not in wanted}

    def _push_whole(
        self, kind: str, wanted: Mapping[str, Resource], changed: list[str]
    ) -> list[Push]:
        subscription = self._subscriptions[kind]
        if not subscription.asked or (subscription.answered_once and not changed):
            return []
        subscription.sent = dict(wanted)
        return [self._push(kind, subscription, wanted.values())]

    def _push_changed(self, kind: str, available: Mapping[str, Resource]) -> list[Push]:
        subscription = self._subscriptions[kind]
        if subscription.awaited:
            return []
        wanted = {name: available[name] for name in subscription.names if name in available}
        changed = {name: wanted[name] for name in self._changed(kind, wanted)}
        if not changed:
            return []
        subscription.sent.update(changed)
        return [self._push(kind, subscription, changed.values())]

    def _push(self, kind: str, subscription: _Subscription, resources: Iterable[Resource]) -> Push:
        assert self._target is not None
        self._pushes += 1
        subscription.awaited = str(self._pushes)
        subscription.answered_once = True
        return Push(kind, self._target.version, subscription.awaited, tuple(resources))

    def _rejected(self, kind: str, subscription: _Subscription, text: str) -> None:
        assert self.client is not None
        assert self._target is not None
        for name, message in split(text, subscription.sent).items():
            subscription.rejected[name] = Rejection(
                client=self.client.value,
                type=kind.rpartition(".")[2],
                name=name,
                message=message,
                version=self._target.version,
            )


def _same(old: Resource | None, new: Resource) -> bool:
    return old is new or old == new


def _client(request: Any, kind: str) -> Client:
    """Who asks. Only a stream's first request is sure to say so."""
    agent = request.node.user_agent_name
    if agent == "envoy":
        return Client.ENVOY
    if agent.startswith("gRPC") or request.resource_names or kind not in _WHOLE:
        return Client.GRPC
    return Client.ENVOY
