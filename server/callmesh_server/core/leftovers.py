"""What is still on a node, by name and why: for whoever waits until it is empty."""

from __future__ import annotations

from callmesh_server.core import attempts, conditions
from callmesh_server.core.crew import is_ready
from callmesh_server.core.world import NOTHING, World, app_of
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import Attempt, Instance, NodeWork, Run

# So many are named; a node with more is far from empty.
MOST = 100


def leftovers(world: World, node: str, *, ending: bool = False) -> list[NodeWork]:
    """Apps' instances by app, then attempts by run; at most `MOST`.

    ``ending``: only what would stay, as it is told to end.
    """
    by_app: dict[AppName, list[Instance]] = {}
    for identifier in world.instances_on_node.get(node, NOTHING):
        instance = world.instances[identifier]
        if not ending or instance.intent == pb.INSTANCE_INTENT_RUN:
            by_app.setdefault(app_of(instance), []).append(instance)
    found = [
        NodeWork(
            project=name.project,
            domain=name.domain,
            app=name.name,
            instances=len(by_app[name]),
            message=_why_instances(world, node, name, by_app[name]),
        )
        for name in sorted(by_app)
    ]
    for name in sorted(world.runs_on_node.get(node, NOTHING)):
        run = world.runs[name]
        attempt = attempts.current(run)
        if attempt is None or (ending and attempts.is_stopping(attempt)):
            continue
        message = _why_attempt(world, run, attempt)
        found.append(NodeWork(project=run.project, domain=run.domain, run=name, message=message))
    return found[:MOST]


def _why_instances(world: World, node: str, name: AppName, here: list[Instance]) -> str:
    staying = [each for each in here if each.intent == pb.INSTANCE_INTENT_RUN]
    if not staying:
        return "takes no new calls, and ends when those in flight have"
    state = world.nodes.get(node)
    if state is not None and state.record.drain.expired:
        return "is told to end"
    app = world.apps.get(name)
    if app is None:
        return "is told to end"
    progress = conditions.find(app, conditions.PROGRESSING)
    if progress is not None and progress.message and not _is_settled(progress.reason):
        return str(progress.message).split("\n", 1)[0]
    elsewhere = [
        each
        for each in world.instances_of(name)
        if each.node != node and each.intent == pb.INSTANCE_INTENT_RUN and not is_ready(each)
    ]
    if elsewhere:
        return f"`{elsewhere[0].id}` on node `{elsewhere[0].node}` starts in its place"
    return "is to be replaced"


def _is_settled(reason: str) -> bool:
    return reason == "Complete"


def _why_attempt(world: World, run: Run, attempt: Attempt) -> str:
    what = f"attempt {attempt.number} of task `{run.task}`"
    if attempts.is_stopping(attempt):
        return f"{what} is being stopped: {attempt.error.message}"
    children = len(world.children.get(run.name, NOTHING))
    if children:
        return f"{what} waits for {children} child run{'' if children == 1 else 's'}"
    if attempt.phase == pb.ATTEMPT_PHASE_DISPATCHED:
        return f"{what} is about to start"
    return f"{what} runs"
