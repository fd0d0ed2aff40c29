"""What callmesh does not have says so by name, with what to do instead."""

from __future__ import annotations

import subprocess
import sys

import pytest

from callmesh import errors


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("from flyteplugins.ray import RayJobConfig", "`flyteplugins` is not supported"),
        ("import flyteplugins", "`flyteplugins` is not supported"),
        ("from callmesh import Trigger", "Flyte's `Trigger` is not there in `callmesh`"),
        (
            "import callmesh as flyte; flyte.report.log('x')",
            "Flyte's `report` is not there in `callmesh`",
        ),
        ("import callmesh.report", "Flyte's `report` is not there in `callmesh`"),
        ("from callmesh.notify import Slack", "Flyte's `notify` is not there in `callmesh`"),
    ],
)
def test_it_says_so_by_name(code: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import callmesh\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stderr.splitlines()[-1]


def test_other_packages_are_still_missing_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'flytepluginsx'"):
        __import__("flytepluginsx")


@pytest.mark.parametrize("name", errors._ELSEWHERE)
def test_errors_of_flytes_can_be_named(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.BaseRuntimeError)


def test_a_missing_run_is_a_missing_action() -> None:
    assert issubclass(errors.RunNotFoundError, errors.ActionNotFoundError)
