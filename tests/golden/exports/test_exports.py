"""The public names: what leaves or joins them is seen in a diff."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

MODULES = ["callmesh", "callmesh.app", "callmesh.app.extras", "callmesh.errors", "callmesh.remote"]


@pytest.mark.parametrize("name", MODULES)
def test_public_names(name: str, golden: Callable[[str, Any], None]) -> None:
    module = importlib.import_module(name)
    for each in module.__all__:
        assert getattr(module, each) is not None
    golden(f"{name}.json", sorted(module.__all__))
