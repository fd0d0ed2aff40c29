"""`docs/several-machines.md`, done as a reader would, on a machine with a systemd."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import systemd_host
from docpages import Reader
from mesh import ROOT
from sealed import Sealed
from systemd_host import UNITS

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "several-machines.md"
REPLACED = {
    "python3 -m venv /opt/callmesh && ": "true || ",
    "/opt/callmesh/bin/pip install --upgrade '.[all]' && ": "",
    # The one machine is the server as well.
    "scp -p root@10.0.0.1:": "cp -p ",
}


@dataclass
class Inside(Reader):
    """A reader who sits at another machine."""

    machine: Sealed | None = None

    def shell(self, text: str) -> list[str]:
        """What runs a command of the page there, in the page's folder."""
        assert self.machine is not None
        *shell, command = super().shell(text)
        return self.machine.command(*shell, f"cd {self.folder}\n{command}")


def test_the_guide_does_what_it_shows(tmp_path: Path) -> None:
    systemd_host.require()
    folder = tmp_path / "clone"
    shutil.copytree(UNITS, folder / "deploy" / "systemd")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CALLMESH_", "XDG_"))}
    environment |= {"HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "80"}
    with systemd_host.running(tmp_path) as machine:
        try:
            Inside(PAGE, folder, environment, REPLACED, machine=machine).read()
        except AssertionError as problem:
            logs = [path.read_text() for path in folder.glob("*.log")]
            raise AssertionError("\n".join([str(problem), machine.log(), *logs])) from None
