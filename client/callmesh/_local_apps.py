"""The apps that this process serves without a mesh: where they are, and their end.

Their addresses are in a file, so that an app finds another one that is served
later. When the process ends they end, too. A script whose last call of
callmesh's is `serve` stays up for them until Ctrl-C.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callmesh.local_app import LocalApp

FILE_VARIABLE = "CALLMESH_LOCAL_ENDPOINTS"
APP_VARIABLE = "CALLMESH_LOCAL_APP"
_TICK = 0.2


class LocalApps:
    """Those of one process, by name.

    ``keeps_script``: the last verb that the script used is `serve`, so it shall
    stay up.
    """

    def __init__(self) -> None:
        self.keeps_script = False
        self._served: dict[str, LocalApp] = {}
        self._folder: Path | None = None
        self._is_in_script = False
        self._process = os.getpid()

    @property
    def folder(self) -> Path:
        """A folder that is deleted when this process ends; made at first use."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="callmesh-local-"))
            self._is_in_script = _is_script()
            atexit.register(self._at_exit)
        return self._folder

    @property
    def file(self) -> Path:
        """The file of addresses."""
        return self.folder / "endpoints.json"

    @property
    def known_file(self) -> str:
        """The file of addresses if this process serves anything, else ""."""
        return str(self.file) if self._folder is not None else ""

    def get(self, name: str) -> LocalApp | None:
        """The app that was served last under a name."""
        return self._served.get(name)

    def put(self, app: LocalApp) -> None:
        """Remember an app."""
        self._served[app.name] = app

    def publish(self) -> None:
        """Write down where the apps are that take calls."""
        found = {name: app.endpoint for name, app in self._served.items() if app.is_active()}
        draft = self.file.with_suffix(".new")
        draft.write_text(json.dumps(found))
        draft.replace(self.file)

    def end(self) -> None:
        """End every app, and wait for that."""
        apps = list(reversed(self._served.values()))
        for app in apps:
            app.begin_end()
        for app in apps:
            app.await_end()

    def stay_up(self, apps: Iterable[LocalApp]) -> bool:
        """Wait for Ctrl-C (True), or until every one of these apps has ended by itself (False)."""
        active = list(apps)
        try:
            while active:
                for app in [each for each in active if not each.is_active()]:
                    active.remove(app)
                    sys.stderr.write(f"callmesh: {app.epitaph()}\n")
                time.sleep(_TICK)
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            return True
        return False

    def _at_exit(self) -> None:
        if os.getpid() != self._process:
            return  # a forked child: they are its parent's
        try:
            if self.keeps_script and self._is_in_script and _has_not_failed():
                active = [app for app in self._served.values() if app.is_active()]
                _say_where(active)
                self.stay_up(active)
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                self.end()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


APPS = LocalApps()


def addresses() -> str:
    """The file with the addresses of locally served apps, "" where there is none."""
    return APPS.known_file or os.environ.get(FILE_VARIABLE, "")


def being_served() -> str:
    """The app whose process this is, when it is served without a mesh; else ""."""
    return os.environ.get(APP_VARIABLE, "")


def _say_where(apps: Sequence[LocalApp]) -> None:
    for app in apps:
        sys.stderr.write(f"callmesh: `{app.name}` serves at {app.url}\n")
    if apps:
        sys.stderr.write("callmesh: Ctrl-C ends it\n")


def _is_script() -> bool:
    """This process runs a program of the user's: no test runner, no notebook, no `-i`.

    To be asked while it runs: at exit the module does not know its file any more.
    """
    from callmesh._modules import is_users

    return is_users(sys.modules.get("__main__")) and not sys.flags.interactive


def _has_not_failed() -> bool:
    """No exception has ended the script."""
    return getattr(sys, "last_value", None) is None
