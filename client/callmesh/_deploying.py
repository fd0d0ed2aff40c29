"""What deploy, serve and run share: from environments to an answered request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from callmesh import _blobs, _images, bundle, graph, plan, settings
from callmesh._run_outputs import output_of
from callmesh._transport import call, new_request_id
from callmesh.app.environment import AppEnvironment
from callmesh.app.parameters import AppEndpoint, Content, Parameter, RunOutput, Scalar, is_content
from callmesh.bundle import Bundle, CopyStyle
from callmesh.environment import Environment
from callmesh.errors import DeploymentError, ParameterMaterializationError
from callmesh.requirements import Resolved
from callmeshpb.v1 import scheduler_pb2

Values = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to deploy; what is not said is this process's own."""

    project: str = ""
    domain: str = ""
    version: str = ""
    copy_style: CopyStyle = "loaded_modules"
    env_vars: Mapping[str, str] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can be sent, with the code that it names."""

    environments: tuple[Environment, ...]
    bundle: Bundle
    request: scheduler_pb2.DeployRequest
    notices: tuple[str, ...]


async def prepare(environments: Sequence[Environment], options: Options) -> Prepared:
    """Everything that can be found wrong without the mesh is found here.

    Raises `DeploymentError`s.
    """
    for each in environments:
        if not isinstance(each, Environment):
            raise DeploymentError(f"only environments can be deployed, not {each!r}")
    ordered = graph.order(environments)
    values = await _looked_up(ordered, options.values)
    images = await asyncio.to_thread(_images.read, ordered)
    pythons = await _images.offered(images)
    locked, notices = await asyncio.to_thread(_images.lock, images, pythons)
    return await asyncio.to_thread(_prepared, ordered, options, values, locked, notices)


async def send(prepared: Prepared) -> scheduler_pb2.DeployResponse:
    """Upload the code and record the environments, in one transaction."""
    if prepared.bundle.digest:
        await _blobs.upload(prepared.bundle.data, prepared.bundle.digest)
    request = scheduler_pb2.DeployRequest()
    request.CopyFrom(prepared.request)
    request.request_id = new_request_id()
    return await call(scheduler_pb2.DeployResponse, "SchedulerService/Deploy", request)


def _prepared(
    ordered: Sequence[Environment],
    options: Options,
    values: Mapping[str, Mapping[str, Scalar | AppEndpoint | Content]],
    images: Mapping[Environment, Resolved],
    notices: Sequence[str],
) -> Prepared:
    current = settings.current()
    sources = [each for found in images.values() for each in found.sources]
    if options.copy_style == "none" and not options.version:
        raise DeploymentError('`copy_style="none"` needs a `version`: no code says which it is')
    made = bundle.make(
        ordered, root_dir=current.root_dir, copy_style=options.copy_style, sources=sources
    )
    request = plan.deploy_request(
        ordered,
        made,
        plan.Extra(
            project=options.project or current.project,
            domain=options.domain or current.domain,
            version=options.version,
            images=images,
            env_vars=options.env_vars,
            values=values,
        ),
        ephemeral=options.ephemeral,
    )
    return Prepared(tuple(ordered), made, request, (*notices, *plan.notices(ordered)))


async def _looked_up(
    environments: Sequence[Environment], given: Values
) -> dict[str, dict[str, Scalar | AppEndpoint | Content]]:
    """Parameter values that are given at deploy, and what `RunOutput`s stand for."""
    apps = {each.name: each for each in environments if isinstance(each, AppEnvironment)}
    for name, chosen in given.items():
        known = [each.name for each in apps[name].parameters] if name in apps else None
        for parameter in chosen:
            if known is None or parameter not in known:
                raise ParameterMaterializationError(
                    f"a value is given for parameter `{parameter}` of app `{name}`, "
                    "which is not being deployed or has no such parameter"
                )
    found: dict[str, dict[str, Scalar | AppEndpoint | Content]] = {}
    for name, app in apps.items():
        for each in app.parameters:
            value = given.get(name, {}).get(each.name, each.value)
            if isinstance(value, RunOutput):
                value = await output_of(value, f"parameter `{each.name}` of app `{name}`")
            if is_content(value):
                value = await _content_of(value, each)
            if value is not None:
                found.setdefault(name, {})[each.name] = cast(
                    "Scalar | AppEndpoint | Content", value
                )
    return found


async def _content_of(value: Any, parameter: Parameter) -> Content | str:
    if not parameter.download:
        return str(value.path)
    from callmesh.io import _parameter

    return await _parameter.stored(value, parameter.ignore_patterns)
