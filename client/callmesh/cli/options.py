"""Options that several commands take, each written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from callmesh.cli import output
from callmesh_wire import names

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Where:
    """Which mesh, and which project and domain in it. Empty: what is configured."""

    project: str
    domain: str
    endpoint: str


def where(command: Command) -> Command:
    """Take --project, --domain and --endpoint, as one argument ``where``."""

    def called(*args: Any, project: str, domain: str, endpoint: str, **kwargs: Any) -> Any:
        for value, field in ((project, "project"), (domain, "domain")):
            if value:
                _checked(value, field)
        return command(*args, where=Where(project, domain, endpoint), **kwargs)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    # A decorated command carries its parameters here until click collects them.
    called.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
    for option in (
        click.option(
            "--endpoint", metavar="HOST:PORT", default="", help="The mesh's API, if not this one's."
        ),
        click.option("--domain", default="", help="Default: development."),
        click.option("--project", default="", help="Default: default."),
    ):
        option(called)
    return called  # type: ignore[return-value]


COPY_STYLES = ("loaded_modules", "all", "custom", "none")


def copy_style(command: Command) -> Command:
    """Take --copy-style, as the argument ``copy_style``."""
    return click.option(
        "--copy-style",
        metavar="STYLE",
        type=click.Choice(COPY_STYLES),
        default="loaded_modules",
        help="Which code goes along: loaded_modules (the default), all of the folder, custom (what "
        "`include` names), none.",
    )(command)


def as_json(command: Command) -> Command:
    """Take -o/--output table|json, as the argument ``as_json``."""
    return click.option(
        "-o",
        "--output",
        "as_json",
        metavar="[table|json]",
        type=click.Choice(["table", "json"]),
        default="table",
        callback=lambda _ctx, _parameter, value: value == "json",
        help="How to print it.",
    )(command)


def _checked(value: str, field: str) -> None:
    try:
        names.check_scope(value, field)
    except names.NameProblem as problem:
        output.stop(str(problem), code=output.USAGE)


def pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """``K=V`` texts as a mapping. Ends the command for what is not one."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            output.stop(f"`{option} {each}` must be `{option} NAME=value`", code=output.USAGE)
        found[name] = value
    return found
