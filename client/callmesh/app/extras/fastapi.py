"""An app that is an ASGI application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callmesh.app.environment import AppEnvironment
from callmesh.app.types import Link


@dataclass(eq=False, kw_only=True)
class FastAPIAppEnvironment(AppEnvironment):
    """An app that is a FastAPI object, or any other ASGI application.

    It is served by uvicorn on the socket that the mesh gives; ``uvicorn_config``
    is honoured but for where to listen.
    """

    app: Any = None
    type: str | None = "FastAPI"
    uvicorn_config: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.app):
            raise TypeError(f"`app` of `{self.name}` must be a FastAPI object, not {self.app!r}")
        docs = getattr(self.app, "docs_url", None)
        if docs and not any(link.path == docs for link in self.links):
            self.links = [Link(path=docs, title="OpenAPI docs", is_relative=True), *self.links]
