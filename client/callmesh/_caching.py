"""From a task's `cache` to the policy that the mesh, or local mode, acts on."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from callmesh.policy import Cache, CacheRequest, VersionParameters, seconds
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh.task import Task


def policy_of(task: Task[..., Any]) -> scheduler_pb2.CachePolicy:
    """The task's own policy, or its environment's; without a version nothing is kept.

    Raises `ValueError` for a policy that cannot be kept.
    """
    request = task.options.cache
    cache = cache_of(task.environment.cache if request is None else request)
    made = scheduler_pb2.CachePolicy()
    if cache.behavior == "disable":
        return made
    made.version = _version(cache, task)
    ignored = cache.ignored_inputs
    made.ignored_inputs.extend([ignored] if isinstance(ignored, str) else ignored)
    known = inspect.signature(task.func).parameters
    for name in made.ignored_inputs:
        if name not in known:
            raise ValueError(
                f"`ignored_inputs` of task `{task.name}` names `{name}`: must be a parameter of it"
            )
    made.serialize = cache.serialize
    if cache.max_age is not None:
        made.max_age.FromNanoseconds(round(seconds(cache.max_age) * 1e9))
    return made


def cache_of(request: CacheRequest) -> Cache:
    """A request, however it was spelled. Raises `TypeError` and `ValueError`."""
    if isinstance(request, Cache):
        return request
    if request == "override":
        raise ValueError(
            '`cache="override"` needs a version: write `Cache("override", version_override="1")`'
        )
    if request not in ("auto", "disable"):
        raise TypeError(f'`cache` must be "auto", "disable" or a `Cache`, not {request!r}')
    return Cache(request)


def body_of(function: Callable[..., Any]) -> str:
    """What a function does, as text: without comments, layout, docstring and decorators."""
    try:
        found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        code = function.__code__
        return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_consts!r}"
    if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        found.decorator_list = []
        if ast.get_docstring(found) is not None:
            found.body = found.body[1:]
    return ast.dump(found)


def _version(cache: Cache, task: Task[..., Any]) -> str:
    if cache.behavior == "override":
        text = f"override {cache.version_override}"
    elif cache.policies:
        each: Any = cache.policies
        chosen = each if isinstance(each, list | tuple) else [each]
        parameters = VersionParameters(task.func, task.environment.resolved_image)
        text = " ".join(str(one.get_version(cache.salt, parameters)) for one in chosen)
    else:
        text = f"auto {body_of(task.func)}"
    return hashlib.sha256(f"{cache.salt}\0{text}".encode()).hexdigest()
