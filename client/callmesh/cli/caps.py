"""`--cap KIND=SIZE`: how much a node keeps on its disk of what nothing uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

# What is removed beyond a cap, and the cap that is not told.
DEFAULTS = {"environments": "20Gi", "bundles": "5Gi", "blobs": "10Gi"}

F = TypeVar("F", bound=Callable[..., Any])


class _Cap(click.ParamType):  # type: ignore[type-arg]
    name = "cap"

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """``environments=20Gi`` as its kind and bytes."""
        from callmesh.resources import size_of

        kind, _, size = str(value).partition("=")
        if kind not in self._kinds:
            known = " or ".join(self._kinds)
            self.fail(f"`{value}` must be KIND=SIZE, where the kind is {known}", param, ctx)
        try:
            return kind, size_of(f"--cap {kind}", size)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def cap_option(*kinds: str) -> Callable[[F], F]:
    """The option, repeatable, as ``caps``."""
    return click.option(
        "--cap",
        "caps",
        type=_Cap(kinds),
        metavar="KIND=SIZE",
        multiple=True,
        help=f"How much is kept that nothing uses, of {' or '.join(kinds)}; may be repeated.  "
        f"[default: {', '.join(f'{kind}={DEFAULTS[kind]}' for kind in kinds)}]",
    )


def arguments(caps: tuple[tuple[str, int], ...]) -> list[str]:
    """The options for `python -m callmesh_up`."""
    return [f"--cap={kind}={size}" for kind, size in caps]
