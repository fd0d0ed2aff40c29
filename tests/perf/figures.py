"""One measured figure beside its floor, its peers and its bound, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Figure:
    """``value`` in ``unit``; ``floor`` was measured in the same run, ``bound`` is our aim.

    ``least`` marks a figure that should be at least its bound.
    """

    what: str
    value: float
    unit: str
    bound: float
    floor: float | None = None
    floor_is: str = ""
    least: bool = False
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def timed(times: int, call: Callable[[], object]) -> list[float]:
    """Durations of ``times`` calls, in seconds."""
    durations = []
    for _ in range(times):
        began = perf_counter()
        call()
        durations.append(perf_counter() - began)
    return durations


def median(durations: Sequence[float]) -> float:
    """The median, in the unit of the durations."""
    return statistics.median(durations)


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table, one figure a row."""
    rows = ["| what | measured | floor, same run | ratio | aim | |", "|---|---|---|---|---|---|"]
    for figure in figures:
        floor = f"{figure.floor:.3g} {figure.unit} ({figure.floor_is})" if figure.floor else "–"
        ratio = f"{figure.value / figure.floor:.2f}" if figure.floor else "–"
        aim = f"{'≥' if figure.least else '≤'} {figure.bound:g} {figure.unit}"
        verdict = "kept" if figure.kept else "**missed**"
        rows.append(
            f"| {figure.what} | {figure.value:.3g} {figure.unit} | {floor} | {ratio} "
            f"| {aim} | {verdict} |"
        )
    notes = [f"- {figure.what}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*rows, "", *notes])
