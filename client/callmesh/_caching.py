"""From a task's `cache` to the policy that the mesh, or local mode, acts on."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Container
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
    if cache.behavior == "disable":
        return scheduler_pb2.CachePolicy()
    known = inspect.signature(task.func).parameters
    return _policy(cache, _version(cache, task), task.name, known)


def policy_of_deployed(cache: Cache, spec: scheduler_pb2.TaskSpec) -> scheduler_pb2.CachePolicy:
    """The same for a task that is only known by its record, without its function.

    Raises `ValueError`, also where "auto" would have to look at the function.
    """
    if cache.behavior == "disable":
        return scheduler_pb2.CachePolicy()
    if cache.behavior == "override":
        version = _hashed(cache.salt, f"override {cache.version_override}")
    elif cache.policies or cache.salt or not spec.cache.version:
        raise ValueError(
            f"deployed task `{spec.name}` has no such `cache`: its function is not here to make a "
            'version of; write `Cache("override", version_override="1")`'
        )
    else:
        version = spec.cache.version
    known = [each.name for each in spec.interface.parameters]
    return _policy(cache, version, spec.name, known)


def _policy(
    cache: Cache, version: str, task: str, known: Container[str]
) -> scheduler_pb2.CachePolicy:
    made = scheduler_pb2.CachePolicy(version=version, serialize=cache.serialize)
    ignored = cache.ignored_inputs
    made.ignored_inputs.extend([ignored] if isinstance(ignored, str) else ignored)
    for name in made.ignored_inputs:
        if name not in known:
            raise ValueError(
                f"`ignored_inputs` of task `{task}` names `{name}`: must be a parameter of it"
            )
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
    return _hashed(cache.salt, text)


def _hashed(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()
