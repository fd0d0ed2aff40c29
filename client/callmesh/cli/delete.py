"""`delete`: apps, nodes and secrets."""

from __future__ import annotations

import click

from callmesh.cli import complete, output, progress
from callmesh.cli.options import Where, where


@click.group("delete")
def delete_command() -> None:
    """Delete an app, a node or a secret."""


@delete_command.command("app")
@click.argument("name", shell_complete=complete.app_names)
@click.option("--no-wait", is_flag=True, help="Return before its instances have ended.")
@where
def app(name: str, where: Where, *, no_wait: bool) -> None:
    """Delete an app: calls in flight end, then its instances.

    Its port on the nodes is not given to another app soon.
    """
    from callmesh.cli import mesh
    from callmesh_wire import errors

    connected = mesh.connect(where)
    connected.delete_app(name)
    if no_wait:
        output.say(f"app `{name}` is being deleted")
        return
    with (
        progress.goes_on(f"app `{name}` is being deleted nevertheless"),
        progress.Progress(f"app `{name}` ends") as shown,
    ):
        try:
            for answer in connected.watch_app(name, shown):
                if answer.deleted:
                    break
        except errors.NotFoundError:
            pass  # it was gone before the watch began
    output.say(f"app `{name}` is deleted")


@delete_command.command("node")
@click.argument("name", shell_complete=complete.node_names)
@where
def node(name: str, where: Where) -> None:
    """Forget a node that does not come back.

    Its apps start on other nodes, and its runs are tried anew there. A node that
    is connected is refused: drain it and stop its agent first. Should its agent
    start again, it joins as a new node, and ends what it had.
    """
    from callmesh import _transport
    from callmesh.cli import mesh
    from callmeshpb.v1 import scheduler_pb2

    request = scheduler_pb2.DeleteNodeRequest(request_id=_transport.new_request_id(), name=name)
    mesh.connect(where).ask(
        scheduler_pb2.DeleteNodeResponse, "SchedulerService/DeleteNode", request
    )
    output.say(f"node `{name}` is deleted")


@delete_command.command("secret")
@click.argument("name", shell_complete=complete.secret_names)
@where
def secret(name: str, where: Where) -> None:
    """Delete a secret. What runs keeps the value that it has."""
    from callmesh.cli import mesh

    mesh.connect(where).delete_secret(name)
    output.say(f"secret `{name}` is deleted")
