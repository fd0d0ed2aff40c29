"""Comparison with files that are reviewed as a diff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Call it with a file's name, beside the test, and the JSON value that it must hold."""

    def compare(name: str, value: Any) -> None:
        path = Path(str(request.path)).parent / name
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.exists(), f"{path} is missing: run pytest with --update-golden"
        assert text == path.read_text(), f"{path} differs: run pytest with --update-golden"

    return compare
