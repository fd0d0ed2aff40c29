"""Options that several commands take, each written once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from callmesh.cli import output
from callmesh_wire import names

_SPAN = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d+)?)s)?\Z", re.IGNORECASE
)
Command = TypeVar("Command", bound=Callable[..., Any])


def span(text: str) -> float:
    """The type of an option: ``90s``, ``10m``, ``1h30m`` or ``2d`` as seconds."""
    found = _SPAN.match(text)
    if text == "0":
        return 0.0
    if not text or found is None:
        raise click.BadParameter(
            f"`{text}` is no span of time: write it with its units, such as 90s, 10m or 1h30m"
        )
    parts = zip(found.groups(), (86400, 3600, 60, 1), strict=True)
    return sum(float(number) * unit for number, unit in parts if number)


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
