"""`get`: lists, and single objects, as a table or as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, as_json, where

Rows = Sequence[Mapping[str, object]]

_APP = {
    "name": "NAME",
    "state": "STATE",
    "revision": "REV",
    "ready": "READY",
    "url": "URL",
}
_RUN = {"name": "NAME", "task": "TASK", "phase": "PHASE", "age": "AGE", "took": "TOOK"}
_TASK = {"name": "NAME", "version": "VERSION", "signature": "SIGNATURE", "age": "AGE"}
_NODE = {
    "name": "NAME",
    "state": "STATE",
    "zone": "ZONE",
    "address": "ADDRESS",
    "instances": "INSTANCES",
    "attempts": "RUNNING",
    "cpu": "CPU",
    "memory": "MEMORY",
}
_SECRET = {"name": "NAME", "updated": "UPDATED"}


@click.group("get")
def get_command() -> None:
    """List apps, runs, tasks, nodes or secrets, or show one of them."""


@get_command.command("apps")
@click.option("--all-scopes", is_flag=True, help="Of every project and domain.")
@as_json
@where
def apps(where: Where, *, as_json: bool, all_scopes: bool) -> None:
    """List the apps."""
    from callmesh.cli import mesh, shapes

    found = mesh.connect(where).apps(all_scopes=all_scopes)
    columns = {"project": "PROJECT", "domain": "DOMAIN", **_APP} if all_scopes else _APP
    _show(found, shapes.app, _app_row, columns, "no apps", as_json=as_json)


@get_command.command("app")
@click.argument("name", shell_complete=complete.app_names)
@as_json
@where
def app(name: str, where: Where, *, as_json: bool) -> None:
    """Show one app."""
    from callmesh.cli import mesh, shapes

    _show_one(mesh.connect(where).app(name), shapes.app, _app_row, _APP, as_json=as_json)


@get_command.command("runs")
@click.option("--task", default="", help="Only those of a task, by its full or function name.")
@click.option("--phase", "phases", multiple=True, metavar="PHASE", help="Only those; repeatable.")
@click.option("--parent", default="", metavar="RUN", help="Only the children of this run.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@click.option("--all-scopes", is_flag=True, help="Of every project and domain.")
@as_json
@where
def runs(
    where: Where,
    *,
    as_json: bool,
    task: str,
    phases: tuple[str, ...],
    parent: str,
    limit: int,
    all_scopes: bool,
) -> None:
    """List the runs, newest first."""
    from callmesh.cli import mesh, shapes

    connected = mesh.connect(where)
    found = connected.runs(
        task=task, phases=phases, parent=parent, limit=limit, all_scopes=all_scopes
    )
    if as_json:
        # A listed run has no outputs, one that was asked for by name has.
        found = [connected.run(each.name) for each in found]
    _show(found, shapes.run, _run_row, _RUN, "no runs", as_json=as_json)


@get_command.command("run")
@click.argument("name", shell_complete=complete.run_names)
@as_json
@where
def run(name: str, where: Where, *, as_json: bool) -> None:
    """Show one run."""
    from callmesh.cli import mesh, shapes

    _show_one(mesh.connect(where).run(name), shapes.run, _run_row, _RUN, as_json=as_json)


@get_command.command("io")
@click.argument("run")
@click.option("--to", "folder", default="", metavar="FOLDER", help="Write them and their files.")
@where
def io(run: str, where: Where, *, folder: str) -> None:
    """Show what a run was given and returned, large values included."""
    from pathlib import Path

    from callmesh.cli import io as values
    from callmesh.cli import mesh

    found = mesh.connect(where).run(run)
    if folder:
        values.write(found, Path(folder).expanduser())
    else:
        values.show(found)


@get_command.command("tasks")
@click.option("--all-versions", is_flag=True, help="Not only the newest version of each.")
@as_json
@where
def tasks(where: Where, *, as_json: bool, all_versions: bool) -> None:
    """List the deployed tasks."""
    from callmesh.cli import mesh, shapes

    found = mesh.connect(where).tasks(all_versions=all_versions)
    _show(found, shapes.task, _task_row, _TASK, "no tasks", as_json=as_json)


@get_command.command("task")
@click.argument("name", shell_complete=complete.task_names)
@click.option("--version", default="", help="Default: the newest.")
@as_json
@where
def task(name: str, where: Where, *, as_json: bool, version: str) -> None:
    """Show one task, by its full, function or short name."""
    from callmesh.cli import mesh, shapes

    found = mesh.connect(where).task(name, version)
    _show_one(found, shapes.task, _task_row, _TASK, as_json=as_json)


@get_command.command("nodes")
@as_json
@where
def nodes(where: Where, *, as_json: bool) -> None:
    """List the nodes, and what to do about those that are not in use."""
    from callmesh.cli import mesh, node_stories, shapes

    found = mesh.connect(where).nodes()
    _show(found, shapes.node, _node_row, _node_columns(found), "no nodes", as_json=as_json)
    now = time.time()
    for each in found:
        said = "" if as_json else node_stories.note(each, now)
        for line in output.wrapped(f"node `{each.name}` is {said}") if said else ():
            output.say(line)


@get_command.command("node")
@click.argument("name", shell_complete=complete.node_names)
@as_json
@where
def node(name: str, where: Where, *, as_json: bool) -> None:
    """Show one node."""
    from callmesh.cli import mesh, shapes

    found = mesh.connect(where).node(name)
    _show_one(found, shapes.node, _node_row, _node_columns([found]), as_json=as_json)


@get_command.command("secrets")
@as_json
@where
def secrets(where: Where, *, as_json: bool) -> None:
    """List the secrets, without their values."""
    from callmesh.cli import mesh, shapes

    found = mesh.connect(where).secrets()
    _show(found, shapes.secret, _secret_row, _SECRET, "no secrets", as_json=as_json)


def _show(
    found: Sequence[Any],
    shape: Callable[[Any], dict[str, Any]],
    row: Callable[[Any], Mapping[str, object]],
    columns: Mapping[str, str],
    nothing: str,
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.show_json([shape(each) for each in found])
    elif not found:
        output.say(nothing)
    else:
        for line in output.table([row(each) for each in found], columns):
            output.data(line)


def _show_one(
    found: Any,
    shape: Callable[[Any], dict[str, Any]],
    row: Callable[[Any], Mapping[str, object]],
    columns: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.show_json(shape(found))
    else:
        _show([found], shape, row, columns, "", as_json=False)


def _app_row(found: Any) -> Mapping[str, object]:
    from callmesh.cli import shapes

    return {
        "project": found.spec.project,
        "domain": found.spec.domain,
        "name": found.spec.name,
        "state": shapes.app_state(found),
        "revision": found.revision,
        "ready": f"{shapes.ready_replicas(found)}/{shapes.wanted_replicas(found)}",
        "url": found.url,
    }


def _run_row(found: Any) -> Mapping[str, object]:
    from callmesh.cli import shapes, spans

    return {
        "name": found.name,
        "task": found.task,
        "phase": shapes.run_phase(found),
        "age": spans.since(found, "created_at"),
        "took": spans.between(found, "created_at", "ended_at"),
    }


def _task_row(found: Any) -> Mapping[str, object]:
    from callmesh.cli import spans

    inputs = ", ".join(f"{each.name}: {each.type}" for each in found.spec.interface.parameters)
    result = found.spec.interface.result_type
    return {
        "name": found.spec.name,
        "version": found.environment.version,
        "signature": f"({inputs})" + (f" -> {result}" if result else ""),
        "age": spans.since(found, "created_at"),
    }


def _node_columns(found: Sequence[Any]) -> Mapping[str, str]:
    """Zones and addresses are for meshes that have some."""
    left_out = {
        name for name in ("zone", "address") if not any(getattr(each, name) for each in found)
    }
    return {key: heading for key, heading in _NODE.items() if key not in left_out}


def _node_row(found: Any) -> Mapping[str, object]:
    from callmesh.cli import spans
    from callmesh_wire.nodes import node_state

    return {
        "name": found.name,
        "state": node_state(found),
        "zone": found.zone,
        "address": found.address,
        "instances": found.instances,
        "attempts": f"{found.attempts}/{found.capacity.slots}",
        "cpu": f"{found.capacity.cpu:g}",
        "memory": spans.size(found.capacity.memory),
    }


def _secret_row(found: Any) -> Mapping[str, object]:
    from callmesh.cli import spans

    return {"name": found.name, "updated": f"{spans.since(found, 'updated_at')} ago"}
