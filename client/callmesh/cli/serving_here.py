"""`serve --local`: an app as a process of this terminal, until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from types import FrameType

from callmesh import settings
from callmesh._local_apps import APPS
from callmesh._sync import bridge
from callmesh.app.environment import AppEnvironment
from callmesh.cli import deploying, output, progress
from callmesh.local_app import NotStartedError


def serve(env: AppEnvironment, env_vars: Mapping[str, str]) -> int:
    """Serve it and those that it depends on; print its address. The exit code.

    0 after Ctrl-C or TERM, 1 when the app does not start or ends by itself.
    """
    from callmesh import _local_serving

    settings.use(settings.Settings(root_dir=settings.current().root_dir))
    deploying.say_notices()
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        with starting(f"app {env.name}"):
            app = bridge().run(_local_serving.serve(env, _local_serving.Serving(env_vars)))
        for each in app.brought:
            output.say(f"app {each.name}: serves at {each.url}")
        output.say(f"app {app.name}: serves here, Ctrl-C ends it")
        output.data(app.url)
        sys.stdout.flush()
        return output.DONE if APPS.stay_up([app]) else output.FAILED
    finally:
        APPS.end()


@contextlib.contextmanager
def starting(what: str) -> Iterator[None]:
    """Inside it an app that does not start ends the command with 1, a wrong definition with 2."""
    with deploying.definitions(), progress.Progress(f"starting {what}"):
        try:
            yield
        except NotStartedError as problem:
            output.stop(str(problem))


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
