"""`open`: an app in the browser."""

from __future__ import annotations

import os
import sys

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, where


@click.command("open")
@click.argument("app", shell_complete=complete.app_names)
@where
def open_command(app: str, where: Where) -> None:
    """Open an app in the browser, and print its address.

    Where there is no browser to open, the address is printed only.
    """
    from callmesh.cli import mesh

    found = mesh.connect(where).app(app)
    output.data(found.url)
    if _has_browser():
        import webbrowser

        webbrowser.open(found.url)


def _has_browser() -> bool:
    has_screen = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    return has_screen and sys.stdout.isatty()
