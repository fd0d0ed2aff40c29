"""`status`: what the mesh is, and how its nodes are."""

from __future__ import annotations

import time

import click

from callmesh.cli import output
from callmesh.cli.options import Where, as_json, where


@click.command("status")
@as_json
@where
def status_command(where: Where, *, as_json: bool) -> None:
    """Say what the mesh is and how its nodes are.

    The exit code is 3 where the control plane cannot be reached.
    """
    from callmesh.cli import mesh, node_stories, shapes, spans

    connected = mesh.connect(where)
    server, nodes = connected.server(storage=as_json), connected.nodes()
    if as_json:
        output.show_json(shapes.server(server, nodes))
        return
    place = connected.settings.place
    assert place is not None
    apps = connected.apps(all_scopes=True)
    ready = sum(shapes.app_state(each) == "ready" for each in apps)
    lines = output.fields(
        [
            ("mesh", f"running for {spans.since(server, 'started_at')}, version {server.version}"),
            ("API", place.target),
            ("browser", server.ingress_url),
            ("state", server.state_dir),
            ("process", str(server.pid)),
            ("apps", f"{ready} of {len(apps)} ready"),
        ]
    )
    for node in nodes:
        lines += ["", *node_stories.node(node, time.time())]
    for line in lines:
        output.data(line)
