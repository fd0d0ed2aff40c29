"""An app's instances, sorted into what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from callmesh_server.core.world import World, app_name
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import App, Instance

Instances = Sequence[Instance]


@dataclass(frozen=True, slots=True)
class Crew:
    """Each instance is in exactly one of these."""

    # Of the newest revision, meant to run, on a node that counts.
    newest: Instances
    # The same of the revision that serves, where that is an older one.
    serving: Instances
    # Meant to run, and nothing that is wanted: of a revision that is neither, or
    # on a node whose drain has come to its deadline.
    superseded: Instances
    # Told to go, on a node that counts.
    leaving: Instances
    # On a lost node.
    lost: Instances
    # A node with some of them has not been heard since the server's start:
    # nothing is known of them.
    unheard: bool
    # Since when all nodes of the newest are being heard without a break.
    heard_since: float
    # Of the newest and the serving: ids of those on a node that is drained. They
    # stay until others can stand in for them.
    moving: frozenset[str] = frozenset()

    @property
    def taking_calls(self) -> int:
        """How many ready instances the serving revision has."""
        return ready(self.serving)

    def everyone(self) -> list[Instance]:
        """All of them."""
        return [*self.newest, *self.serving, *self.superseded, *self.leaving, *self.lost]


def crew_of(world: World, app: App) -> Crew:
    """Sort the app's instances; the first rule that fits wins."""
    newest: list[Instance] = []
    serving: list[Instance] = []
    superseded: list[Instance] = []
    leaving: list[Instance] = []
    lost: list[Instance] = []
    unheard = False
    heard_since = 0.0
    moving: set[str] = set()
    for each in world.instances_of(app_name(app)):
        node = world.nodes.get(each.node)
        unheard = unheard or (node is not None and not node.lost and not node.heard)
        if node is None or node.lost:
            lost.append(each)
        elif each.intent != pb.INSTANCE_INTENT_RUN:
            leaving.append(each)
        elif each.revision not in (app.revision, app.serving_revision) or node.record.drain.expired:
            superseded.append(each)
        else:
            if node.draining:
                moving.add(each.id)
            if each.revision == app.revision:
                newest.append(each)
                heard_since = max(heard_since, node.complete_since)
            else:
                serving.append(each)
    return Crew(newest, serving, superseded, leaving, lost, unheard, heard_since, frozenset(moving))


def ready(instances: Instances) -> int:
    """How many of them are ready."""
    return sum(is_ready(each) for each in instances)


def is_ready(instance: Instance) -> bool:
    """Whether its node last said that it takes calls."""
    return bool(instance.status.state == pb.INSTANCE_STATE_READY)
