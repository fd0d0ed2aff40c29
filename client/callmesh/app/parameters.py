"""Parameters of an app: values that its process finds when it starts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from callmesh_wire import names

if TYPE_CHECKING:
    from callmesh.io import Dir, File

VARIABLE = "CALLMESH_PARAMETERS"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

ParameterType = Literal["string", "file", "directory", "app_endpoint"]
TaskVersion = Literal["latest", "current"]


@dataclass(frozen=True, slots=True)
class AppEndpoint:
    """The address of another app of the same project and domain, known when this one starts."""

    app_name: str
    public: bool = False
    type: ClassVar[str] = "app_endpoint"

    def __post_init__(self) -> None:
        names.check_app(self.app_name)


@dataclass(frozen=True, slots=True)
class RunOutput:
    """A value that a run returned, looked up when the app is deployed.

    Of a run by name, or of the newest succeeded run of a task. ``type`` is what
    it is: "string", "file" or "directory". ``getter`` are the steps into it, keys
    and numbers: the first is which output. Raises `ValueError` where both or
    neither of run and task are named.
    """

    type: str
    run_name: str | None = None
    task_name: str | None = None
    task_version: str | None = None
    task_auto_version: TaskVersion | None = None
    getter: Sequence[Any] = (0,)

    def __post_init__(self) -> None:
        if bool(self.run_name) == bool(self.task_name):
            raise ValueError("a `RunOutput` must name either `run_name` or `task_name`")


@dataclass(frozen=True, slots=True)
class Content:
    """A file or directory in the mesh's store, under its own name; ``media`` of its `BlobRef`."""

    digest: str
    size: int
    media: str
    name: str


Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named value. ``env_var`` is the environment variable that carries it.

    A `File` or a `Dir` is put at ``mount`` before the app starts, and its value
    is that path; with ``download=False`` it is the reference's own `path`.

    Raises `TypeError` for values of other types, `ValueError` for a malformed
    variable name.
    """

    name: str
    value: Scalar | AppEndpoint | RunOutput | File | Dir | None = None
    type: ParameterType | None = None
    env_var: str | None = None
    download: bool = True
    mount: str | None = None
    ignore_patterns: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.env_var is not None and not _ENV_NAME.match(self.env_var):
            raise ValueError(
                f"`env_var` of parameter `{self.name}` must be letters, digits and `_`, "
                f"not {self.env_var!r}"
            )
        allowed = (str, int, float, bool, AppEndpoint, RunOutput, type(None))
        if not isinstance(self.value, allowed) and not is_content(self.value):
            raise TypeError(
                f"the value of parameter `{self.name}` must be a string, a number, a boolean, a "
                "`File`, a `Dir`, an `AppEndpoint` or a `RunOutput`, not "
                f"{self.value!r}"
            )


def is_content(value: object) -> bool:
    """It is a `File` or a `Dir`. Neither is imported for that."""
    module = sys.modules.get("callmesh.io._dir") or sys.modules.get("callmesh.io._file")
    kinds = tuple(getattr(module, name) for name in ("Dir", "File") if hasattr(module, name))
    return isinstance(value, kinds)


class Input(Parameter):
    """A parameter as older examples spell it: exported as its upper-cased name, too."""

    __slots__ = ()

    def __post_init__(self) -> None:
        Parameter.__post_init__(self)
        if self.env_var is None:
            object.__setattr__(self, "env_var", default_variable(self.name))


def default_variable(name: str) -> str:
    """The variable of a parameter that names none: ``backend-url`` gives ``BACKEND_URL``."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name).upper()


def text_of(value: Scalar) -> str:
    """A value as an environment variable carries it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def get_parameter(name: str) -> str:
    """The value of this app's parameter, as text.

    Raises `ValueError` outside an app, `KeyError` for a name it does not have.
    """
    carried = os.environ.get(VARIABLE)
    if carried is None:
        raise ValueError(
            f"parameter `{name}` has no value here: it has one in the process of a deployed app"
        )
    values = json.loads(carried)
    if name not in values:
        known = ", ".join(f"`{each}`" for each in values) or "none"
        raise KeyError(f"this app has no parameter `{name}` (it has {known})")
    return str(values[name])


get_input = get_parameter


def seconds_of(value: int | float | timedelta | None, name: str) -> float:
    """A span in seconds; None is 0. Raises `TypeError` and `ValueError`."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"`{name}` must be seconds or a `timedelta`, not {value!r}")
    amount = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if amount < 0:
        raise ValueError(f"`{name}` must not be negative: {value!r}")
    return amount
