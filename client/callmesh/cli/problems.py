"""From an exception to an exit code, and to what a person reads."""

from __future__ import annotations

import os

from callmesh.cli import output
from callmesh_wire import errors

_HINTS: dict[type[errors.CallmeshError], str] = {
    errors.UnavailableError: "start a mesh with `callmesh up`, or name one with --endpoint",
    errors.DeadlineError: "try again; `callmesh status` says how the mesh is",
    errors.UnauthenticatedError: "the mesh's token is in the state folder of `callmesh up`",
}
_CODES: dict[type[errors.CallmeshError], int] = {
    errors.UnavailableError: output.UNREACHABLE,
    errors.DeadlineError: output.UNREACHABLE,
    errors.InvalidArgumentError: output.USAGE,
}


def report(error: Exception) -> int:
    """Print the error; the exit code."""
    from callmesh.errors import InitializationError, InputsError, ModuleLoadError

    if os.environ.get("CALLMESH_DEBUG"):
        raise error
    if isinstance(error, errors.CallmeshError):
        kind = next((kind for kind in type(error).__mro__ if kind in _HINTS), None)
        hint = _HINTS[kind] if kind else ""
        output.error(_sentence(error), "" if "callmesh up" in error.message else hint)
        return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), output.FAILED)
    if isinstance(error, InitializationError):
        output.error(str(error))
        return output.UNREACHABLE
    if isinstance(error, InputsError | ModuleLoadError | TypeError | ValueError):
        output.error(_sentence(error))
        return output.USAGE
    output.error(_sentence(error))
    return output.FAILED


def _sentence(error: BaseException) -> str:
    text = str(error)
    if not text or isinstance(error, KeyError):
        return f"{type(error).__name__}: {text}"
    return text
