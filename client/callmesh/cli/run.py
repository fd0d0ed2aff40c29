"""`run`: a task of a file, or a deployed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import click

from callmesh.cli import complete, output
from callmesh.cli.options import COPY_STYLES, Where, as_json, copy_style, pairs, where

DEPLOYED = "deployed-task"
_USAGE = """\b
Usage: callmesh run [OPTIONS] FILE TASK [--ARGUMENT VALUE]...
       callmesh run [OPTIONS] deployed-task NAME [--ARGUMENT VALUE]...
"""

if TYPE_CHECKING:
    from callmesh.bundle import CopyStyle


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run, beside the task's own arguments."""

    where: Where
    name: str
    version: str
    env_vars: dict[str, str]
    no_deps: bool
    detach: bool
    as_json: bool
    local: bool = False
    copy_style: CopyStyle = "loaded_modules"


class _RunCommand(click.Command):
    """Help that shows both forms. Options of ours may also follow the task's name."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Both forms."""
        for line in _USAGE.splitlines()[1:]:
            formatter.write(f"{line}\n")


@click.command(
    "run",
    cls=_RunCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("file", type=click.Path())  # a type that shells complete
@click.argument("task", required=False, shell_complete=complete.tasks_of_file)
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", default="", help="Of the run.  [default: made up]")
@click.option(
    "--version", default="", help="Of the task.  [default: the newest deployed, or made from FILE]"
)
@click.option("-e", "--env", "env_vars", multiple=True, metavar="K=V", help="Repeatable.")
@click.option("--no-deps", is_flag=True, help="Do not start the apps that the task depends on.")
@click.option("--detach", is_flag=True, help="Print the run's name and return.")
@click.option("--local", is_flag=True, help="Run it in this process, without a mesh.")
@copy_style
@as_json
@where
def run_command(
    file: str,
    task: str | None,
    rest: tuple[str, ...],
    where: Where,
    *,
    name: str,
    version: str,
    env_vars: tuple[str, ...],
    no_deps: bool,
    detach: bool,
    local: bool,
    copy_style: CopyStyle,
    as_json: bool,
) -> int:
    """Run a task and print what it returns, as JSON.

    A task of a FILE is registered for this run alone; apps that it depends on
    are deployed where they are absent, and left alone where they are not. NAME
    is a task that was deployed. Arguments keep the parameters' spelling (dashes
    work too), structured values are JSON; `callmesh run FILE TASK --help` lists
    them.

    With --local the task runs in this process, where `breakpoint()` stops it;
    apps that it depends on are served for as long as it runs.

    \b
    callmesh run work.py add --x 1 --point '{"x": 1, "y": 2}'
    callmesh run deployed-task work.add --x 1
    """
    options = RunOptions(
        where=where,
        name=name,
        version=version,
        env_vars=pairs(env_vars, "--env"),
        no_deps=no_deps,
        detach=detach,
        as_json=as_json,
        local=local,
        copy_style=copy_style,
    )
    from callmesh.cli import running

    if file == DEPLOYED:
        if local:
            output.stop("a deployed task runs on the mesh: leave out --local", code=output.USAGE)
        if task is None:
            output.stop("which task? see `callmesh get tasks`", code=output.USAGE)
        return running.deployed(task, list(rest), options)
    return running.of_file(file, task, list(rest), options)


def split(
    tokens: Sequence[str], parameters: Sequence[str], options: RunOptions
) -> tuple[list[str], RunOptions, bool]:
    """A task's arguments, our options among them, and whether help is asked for.

    What the task has a parameter for is the task's; what follows ``--`` too.
    """
    own: list[str] = []
    waiting = list(tokens)
    asks_help = False
    while waiting:
        token = waiting.pop(0)
        name = token[2:].partition("=")[0].replace("-", "_") if token.startswith("--") else ""
        if token == "--":
            return own + waiting, options, asks_help
        if name in parameters:
            own.append(token)
            if "=" not in token and waiting and not waiting[0].startswith("--"):
                own.append(waiting.pop(0))
        elif token in ("--help", "-h"):
            asks_help = True
        else:
            changed = _option(token, waiting, options)
            if changed is None:
                own.append(token)
                continue
            options = changed
    return own, options, asks_help


def _option(token: str, waiting: list[str], options: RunOptions) -> RunOptions | None:
    """The options with one of ours taken in; None where the token is not ours."""
    spelled, has_value, value = token.partition("=")
    if token == "--local":
        return replace(options, local=True)
    if token == "--detach":
        return replace(options, detach=True)
    if token == "--no-deps":
        return replace(options, no_deps=True)
    known = ("--project", "--domain", "--endpoint", "--name", "--version", "--output", "-o")
    if spelled not in (*known, "--copy-style", "--env", "-e"):
        return None
    if not has_value:
        if not waiting:
            output.stop(f"`{spelled}` needs a value", code=output.USAGE)
        value = waiting.pop(0)
    match spelled:
        case "--output" | "-o":
            return replace(options, as_json=value == "json")
        case "--env" | "-e":
            return replace(options, env_vars={**options.env_vars, **pairs((value,), spelled)})
        case "--copy-style":
            if value not in COPY_STYLES:
                said = ", ".join(COPY_STYLES)
                output.stop(f"`{spelled}` must be one of {said}, not `{value}`", code=output.USAGE)
            return replace(options, copy_style=cast("CopyStyle", value))
        case "--name":
            return replace(options, name=value)
        case "--version":
            return replace(options, version=value)
        case "--project":
            return replace(options, where=replace(options.where, project=value))
        case "--domain":
            return replace(options, where=replace(options.where, domain=value))
        case _:
            return replace(options, where=replace(options.where, endpoint=value))
