"""An app: a long-running service, declared."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from callmesh.app.parameters import Input, Parameter
from callmesh.app.types import Domain, Link, ListenPort, Port, Scaling, Timeouts
from callmesh.environment import Environment
from callmesh.policy import Unused
from callmesh_wire import names

F = TypeVar("F", bound=Callable[..., Any])

_SHELL = frozenset("|&;<>`*?()")


@dataclass(eq=False, kw_only=True)
class AppEnvironment(Environment):
    """A service: a program (``args`` or ``command``), or a server function (`server`).

    ``port`` is what the author wrote down; the process finds its real one in
    ``PORT`` (`get_port`). ``parameters`` may be called ``inputs``. Our own:
    ``health_path`` (must answer under 500 for as long as an instance serves),
    ``prefer_local`` (the own node's instances first), ``session_affinity`` (a
    browser stays with its instance; on for Streamlit unless set).
    """

    type: str | None = None
    port: int | Port = 8080
    args: Sequence[str] | str | None = None
    command: Sequence[str] | str | None = None
    requires_auth: bool = True
    scaling: Scaling = field(default_factory=Scaling)
    domain: Domain = field(default_factory=Domain)
    links: Sequence[Link] = ()
    parameters: Sequence[Parameter] = ()
    inputs: Sequence[Parameter] = ()
    cluster_pool: str = "default"
    cluster: object = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    health_path: str = ""
    prefer_local: bool = False
    session_affinity: bool | None = None
    # The process that serves the app looks its functions up by these names.
    _server: Callable[..., Any] | None = field(default=None, init=False, repr=False)
    _on_startup: Callable[..., Any] | None = field(default=None, init=False, repr=False)
    _on_shutdown: Callable[..., Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.port = self.port if isinstance(self.port, Port) else Port(self.port)
        for name in ("args", "command"):
            _check_words(self.name, name, getattr(self, name))
        self._check_types()
        self.parameters = [*self.parameters, *(_exported(each) for each in self.inputs)]
        self.inputs = ()
        known: set[str] = set()
        for each in self.parameters:
            if each.name in known:
                raise ValueError(f"app `{self.name}` has two parameters called `{each.name}`")
            known.add(each.name)
        if self.health_path and not self.health_path.startswith("/"):
            raise ValueError(f"`health_path` of `{self.name}` must begin with `/`")

    @property
    def argv(self) -> list[str]:
        """The program and its arguments; empty for a server function."""
        return [*_words(self.command), *_words(self.args)]

    @property
    def has_affinity(self) -> bool:
        """A browser stays with its instance."""
        if self.session_affinity is not None:
            return self.session_affinity
        return any("streamlit" in word for word in self.argv)

    @property
    def unused(self) -> Unused:
        """Options that the mesh does not act on yet."""
        own = {
            "scaling.metric": self.scaling.metric,
            "scaling.scaledown_after": self.scaling.scaledown_after,
            "cluster": self.cluster,
            "cluster_pool": self.cluster_pool != "default",
        }
        return Unused({**super().unused.options, **own})

    @property
    def endpoint(self) -> str:
        """Where this app is called, such as ``http://127.0.0.1:20001``.

        Inside a workload no call is made to find it. Raises
        `errors.AppNotFoundError` for an app that is not deployed.
        """
        from callmesh.endpoint import endpoint_of

        return endpoint_of(self.name)

    def get_port(self) -> ListenPort:
        """The port to listen on: the mesh's choice in an app's process, else the declared one."""
        assert isinstance(self.port, Port)
        return ListenPort(os.environ.get("PORT") or self.port.port)

    def server(self, function: F) -> F:
        """Decorate the function that serves; it runs for as long as the app does."""
        self._server = _function("server", function)
        return function

    def on_startup(self, function: F) -> F:
        """Decorate a function that is called before the server."""
        self._on_startup = _function("on_startup", function)
        return function

    def on_shutdown(self, function: F) -> F:
        """Decorate a function that is called after the server, on SIGTERM too."""
        self._on_shutdown = _function("on_shutdown", function)
        return function

    def container_args(self, *_context: object) -> list[str]:
        """The arguments of the app's program."""
        return _words(self.args)

    def container_cmd(self, *_context: object) -> list[str]:
        """The app's program."""
        return _words(self.command)

    def _check_name(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string, not {self.name!r}")
        names.check_app(self.name)

    def _check_types(self) -> None:
        kinds: dict[str, tuple[object, type]] = {
            "scaling": (self.scaling, Scaling),
            "domain": (self.domain, Domain),
            "timeouts": (self.timeouts, Timeouts),
            "requires_auth": (self.requires_auth, bool),
        }
        for name, (value, kind) in kinds.items():
            if not isinstance(value, kind):
                raise TypeError(
                    f"`{name}` of `{self.name}` must be a `{kind.__name__}`, not {value!r}"
                )
        for link in self.links:
            if not isinstance(link, Link):
                raise TypeError(f"`links` of `{self.name}` must be `Link`s, not {link!r}")
        for each in (*self.parameters, *self.inputs):
            if not isinstance(each, Parameter):
                raise TypeError(f"`parameters` of `{self.name}` must be `Parameter`s, not {each!r}")


def _exported(parameter: Parameter) -> Parameter:
    """A parameter given as an input is exported under its upper-cased name, too."""
    if isinstance(parameter, Input) or parameter.env_var is not None:
        return parameter
    return Input(
        parameter.name,
        parameter.value,
        parameter.type,
        None,
        parameter.download,
        parameter.mount,
        parameter.ignore_patterns,
    )


def _check_words(app: str, name: str, value: object) -> None:
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise TypeError(f"`{name}` of `{app}` must be a string or a list of strings, not {value!r}")


def _words(value: Sequence[str] | str | None) -> list[str]:
    """A command line as words; one that is written as a single string may use the shell."""
    if value is None:
        return []
    if not isinstance(value, str) and len(value) != 1:
        return list(value)
    line = value if isinstance(value, str) else value[0]
    if _SHELL & set(line):
        return ["/bin/sh", "-c", f"exec {line}" if not set("|&;") & set(line) else line]
    return shlex.split(line)


def _function(name: str, function: F) -> F:
    if not callable(function):
        raise TypeError(f"`@env.{name}` decorates a function, not {function!r}")
    return function
