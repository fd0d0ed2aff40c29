"""What an app's code may ask about where it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppContext:
    """The app instance that runs this code; outside one all is empty.

    ``mode`` is "remote" in an instance on the mesh, else "local"; an app that is
    served without a mesh has its name here.
    """

    mode: str = "local"
    name: str = ""
    project: str = ""
    domain: str = ""
    revision: int = 0
    instance_id: str = ""
    raw_data_path: str = ""


def ctx() -> AppContext:
    """The context of the app instance that runs this code."""
    environ = os.environ
    instance = environ.get("CALLMESH_INSTANCE_ID", "")
    if not instance:
        return AppContext(name=environ.get("CALLMESH_LOCAL_APP", ""))
    return AppContext(
        mode="remote",
        name=environ.get("CALLMESH_APP", ""),
        project=environ.get("CALLMESH_PROJECT", ""),
        domain=environ.get("CALLMESH_DOMAIN", ""),
        revision=int(environ.get("CALLMESH_REVISION") or 0),
        instance_id=instance,
    )
