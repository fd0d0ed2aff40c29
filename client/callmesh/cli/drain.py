"""`drain` and `undrain`: a node's work moves elsewhere, and the node back into use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, span, where

if TYPE_CHECKING:
    from callmesh.cli.mesh import Mesh
    from callmesh.cli.progress import Progress
    from callmeshpb.v1 import scheduler_pb2


@click.command("drain")
@click.argument("node", shell_complete=complete.node_names)
@click.option(
    "--deadline",
    type=span,
    metavar="SPAN",
    default=None,
    help="What is left then is ended: `90s`, `10m`, `2h`, `0` for at once.  [default: 10m]",
)
@click.option("--no-wait", is_flag=True, help="Return before the node is empty.")
@where
def drain_command(node: str, where: Where, *, deadline: float | None, no_wait: bool) -> None:
    """Move a node's work elsewhere, and wait until the node is empty.

    \b
      callmesh drain worker-2 --deadline 30m
      callmesh undrain worker-2                 take it back into use

    Nothing new starts there. An instance of an app ends once one on another node
    takes calls in its place: no call is lost. One that fits no other node stays
    until the deadline. Attempts of tasks may end until the deadline; then they
    are stopped (SIGTERM, later SIGKILL) and start anew on another node, which
    uses up no retry.

    The node stays drained, also when its agent or the control plane starts
    again, until `callmesh undrain`. A drain goes on without this command; given
    again, it shows how far it is, and changes the deadline where it names one.

    The exit code is 0 once the node is empty, and 1 where work was ended at the
    deadline.
    """
    from callmesh.cli import mesh, node_stories, progress, spans

    connected = mesh.connect(where)
    begun = _ask(connected, node, deadline=deadline)
    if begun.drain.expired:
        output.say(f"node `{node}` takes no new work; its deadline has come")
    else:
        limit = spans.span(node_stories.time_left(begun))
        output.say(f"node `{node}` takes no new work; what is on it has {limit}")
    if no_wait:
        output.say(f"`callmesh drain {node}` shows how far it is")
        return
    goes_on = f"node `{node}` is drained nevertheless; `callmesh undrain {node}` takes it back"
    with progress.goes_on(goes_on), progress.Progress(f"node `{node}` empties") as shown:
        emptied = _emptied(connected, node, shown)
    if emptied.drain.ended:
        works = node_stories.works(emptied.drain.ended)
        lines = [line for work in works for line in output.wrapped(work, "  ")]
        output.stop(
            f"node `{node}` is empty, and this was ended at the deadline:\n" + "\n".join(lines),
            hint="what could run elsewhere does; `callmesh get apps` and `callmesh get runs` "
            "show the rest",
        )
    output.say(f"node `{node}` is empty; `callmesh undrain {node}` takes it back into use")


@click.command("undrain")
@click.argument("node", shell_complete=complete.node_names)
@where
def undrain_command(node: str, where: Where) -> None:
    """Take a drained node back into use.

    What has moved stays where it is; what comes next may be placed there.
    """
    from callmesh.cli import mesh

    _ask(mesh.connect(where), node, undo=True)
    output.say(f"node `{node}` takes work again")


def _ask(
    connected: Mesh, node: str, *, deadline: float | None = None, undo: bool = False
) -> scheduler_pb2.Node:
    from callmesh import _transport
    from callmeshpb.v1 import node_pb2

    request = node_pb2.DrainRequest(request_id=_transport.new_request_id(), node=node, undo=undo)
    if deadline is not None:
        request.deadline.FromNanoseconds(int(deadline * 1e9))
    return connected.ask(node_pb2.DrainResponse, "NodeService/Drain", request).node


def _emptied(connected: Mesh, node: str, shown: Progress) -> scheduler_pb2.Node:
    """The node once nothing is left on it; meanwhile says what is, and why."""
    from callmesh.cli import node_stories
    from callmeshpb.v1 import scheduler_pb2

    said: set[str] = set()
    for answer in connected.watch(
        scheduler_pb2.WatchNodeResponse,
        "SchedulerService/WatchNode",
        scheduler_pb2.WatchNodeRequest(name=node),
        shown,
    ):
        found = answer.node
        if answer.deleted:
            output.stop(f"node `{node}` was deleted meanwhile", hint="see `callmesh get nodes`")
        if not found.HasField("drain"):
            output.stop(f"node `{node}` was taken back into use by somebody meanwhile")
        if not found.drain.left:
            return found
        shown.waiting_for(f"node `{node}` empties: {node_stories.count(found)} left")
        lines = node_stories.works(found.drain.left)
        if not found.connected:
            lines.insert(0, f"node `{node}` is away: what is on it is not known to have ended")
        for line in lines:
            if line not in said:
                shown.line(line)
        said = set(lines)
    raise AssertionError("a watch of a node ends with its deletion")
