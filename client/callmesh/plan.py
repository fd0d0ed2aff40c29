"""Declarations → the request that deploys them. Pure: reads no clock and no network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from google.protobuf.duration_pb2 import Duration

from callmesh._caching import policy_of
from callmesh._modules import locate
from callmesh.app.environment import AppEnvironment
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.app.grpc import GrpcAppEnvironment
from callmesh.app.parameters import (
    AppEndpoint,
    Content,
    Parameter,
    RunOutput,
    Scalar,
    is_content,
    seconds_of,
    text_of,
)
from callmesh.bundle import Bundle
from callmesh.environment import Environment, TaskEnvironment
from callmesh.errors import DeploymentError, ParameterMaterializationError
from callmesh.interface import interface_of
from callmesh.policy import DEFAULT_BACKOFF, RetryStrategy, Span, Timeout, seconds
from callmesh.requirements import Resolved
from callmesh.resources import Resources
from callmesh.secret import FOLDER_VARIABLE, MOUNT, Secret
from callmesh.task import Task
from callmeshpb.v1 import common_pb2, scheduler_pb2


@dataclass(frozen=True, slots=True)
class Extra:
    """What is decided at deploy and not in a declaration.

    ``values`` replace parameters' values, by app and parameter.
    """

    project: str
    domain: str
    version: str = ""
    images: Mapping[Environment, Resolved] = field(default_factory=dict)
    env_vars: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Scalar | AppEndpoint | Content]] = field(default_factory=dict)


def deploy_request(
    environments: Sequence[Environment], bundle: Bundle, extra: Extra, *, ephemeral: bool = False
) -> scheduler_pb2.DeployRequest:
    """The request for environments, which are in order of their dependencies.

    Where ``extra`` names no version, one is made from the content, so the same
    code deployed again is the same version. `request_id` is the caller's.
    """
    request = scheduler_pb2.DeployRequest(
        scope=common_pb2.Scope(project=extra.project, domain=extra.domain), ephemeral=ephemeral
    )
    for each in environments:
        if isinstance(each, AppEnvironment):
            request.apps.append(app_spec(each, bundle, extra))
        elif isinstance(each, TaskEnvironment):
            request.task_environments.append(task_environment_spec(each, bundle, extra))
    version = extra.version or content_version(request)
    request.version = version
    for app in request.apps:
        app.version = version
    for environment in request.task_environments:
        environment.version = version
    return request


def content_version(request: scheduler_pb2.DeployRequest) -> str:
    """A version that says what is in a request: 12 hex digits."""
    content = request.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()[:12]


def notices(environments: Sequence[Environment]) -> list[str]:
    """One line for each environment that asks for what the mesh does not do yet."""
    lines = []
    for each in environments:
        unused = each.unused.names()
        tasks = each.tasks.values() if isinstance(each, TaskEnvironment) else ()
        for task in tasks:
            unused += task.options.unused.names()
        if unused:
            listed = ", ".join(f"`{name}`" for name in dict.fromkeys(unused))
            lines.append(f"`{each.name}` asks for {listed}: kept, and not acted on yet")
        lines += [
            f"`{each.name}`: the file of secret `{secret.key}` is not `{secret.file}`, which takes "
            f"root, but what `callmesh.secret_file` says: `${FOLDER_VARIABLE}/"
            f"{secret.file.removeprefix(MOUNT).lstrip('/')}`"
            for secret in each.secret_requests
            if secret.file
        ]
    return lines


def app_spec(env: AppEnvironment, bundle: Bundle, extra: Extra) -> scheduler_pb2.AppSpec:
    """One app. Raises `DeploymentError` for one that has nothing to run."""
    low, high = env.scaling.get_replicas()
    if not env.scaling.asks_for_zero:
        low = max(low, 1)  # nobody wrote the 0 of the default down
    kind = _kind(env)
    spec = scheduler_pb2.AppSpec(
        project=extra.project,
        domain=extra.domain,
        name=env.name,
        kind=kind,
        protocol=common_pb2.PROTOCOL_GRPC
        if isinstance(env, GrpcAppEnvironment)
        else common_pb2.PROTOCOL_HTTP,
        code=_code(env, bundle, named=kind != scheduler_pb2.APP_KIND_COMMAND),
        image=_image(env, extra),
        port=env.port.port if not isinstance(env.port, int) else env.port,
        parameters=[_parameter(env, each, extra) for each in env.parameters],
        env_vars={**(env.env_vars or {}), **extra.env_vars},
        secrets=secret_refs(env.secret_requests),
        resources=resources_asked(env.resources) if env.resources else None,
        min_replicas=low,
        max_replicas=high,
        timeouts=_app_timeouts(env),
        health_path=env.health_path,
        requires_auth=env.requires_auth,
        depends_on=_app_dependencies(env),
        cookie_affinity=env.has_affinity,
        prefer_local=env.prefer_local,
        custom_domain=env.domain.host,
        links=[
            scheduler_pb2.AppLink(path=link.path, title=link.title, is_relative=link.is_relative)
            for link in env.links
        ],
        description=env.description or "",
    )
    if kind == scheduler_pb2.APP_KIND_COMMAND:
        spec.command.extend(env.container_cmd())
        spec.args.extend(env.container_args())
    return spec


def task_environment_spec(
    env: TaskEnvironment, bundle: Bundle, extra: Extra
) -> scheduler_pb2.TaskEnvironmentSpec:
    """One environment with its tasks."""
    return scheduler_pb2.TaskEnvironmentSpec(
        project=extra.project,
        domain=extra.domain,
        name=env.name,
        code=_code(env, bundle, named=True),
        image=_image(env, extra),
        env_vars={**(env.env_vars or {}), **extra.env_vars},
        secrets=secret_refs(env.secret_requests),
        resources=resources_asked(env.resources) if env.resources else None,
        depends_on=_app_dependencies(env),
        tasks=[task_spec(task) for _, task in sorted(env.tasks.items())],
        description=env.description or "",
    )


def task_spec(task: Task[..., object]) -> scheduler_pb2.TaskSpec:
    """One task."""
    options = task.options
    cache = policy_of(task)
    return scheduler_pb2.TaskSpec(
        name=task.name,
        short_name=options.short_name,
        function=task.func.__name__,
        interface=interface_of(task.func),
        retries=retry_policy(options.retries),
        timeouts=task_timeouts(options.timeout),
        resources=resources_asked(options.resources) if options.resources else None,
        fresh=options.fresh,
        docs=task.docs,
        cache=cache if cache.version else None,
    )


def retry_policy(retries: RetryStrategy) -> scheduler_pb2.RetryPolicy | None:
    """A strategy on the wire; None for no retries."""
    if retries.count == 0:
        return None
    backoff = retries.backoff or DEFAULT_BACKOFF
    policy = scheduler_pb2.RetryPolicy(count=retries.count, factor=backoff.factor)
    policy.base.FromTimedelta(backoff.base)
    if backoff.cap is not None:
        policy.cap.FromTimedelta(backoff.cap)
    return policy


def task_timeouts(timeout: Timeout) -> scheduler_pb2.TaskTimeouts | None:
    """Limits on the wire; None for none."""
    limits = scheduler_pb2.TaskTimeouts(
        max_runtime=_duration(timeout.max_runtime),
        max_queued_time=_duration(timeout.max_queued_time),
        deadline=_duration(timeout.deadline),
    )
    return limits if limits.ByteSize() else None


def _kind(env: AppEnvironment) -> scheduler_pb2.AppKind:
    if env._server is not None:
        return scheduler_pb2.APP_KIND_SERVER
    if env.argv:
        return scheduler_pb2.APP_KIND_COMMAND
    if isinstance(env, FastAPIAppEnvironment):
        return scheduler_pb2.APP_KIND_ASGI
    raise DeploymentError(
        f"app `{env.name}` has nothing to run: give it `args` or `command`, decorate a function "
        "with `@env.server`, or use `FastAPIAppEnvironment`"
    )


def _code(env: Environment, bundle: Bundle, *, named: bool) -> common_pb2.Code:
    code = common_pb2.Code(bundle=bundle.digest, sys_path=bundle.sys_path)
    if named:
        location = locate(env)
        code.module, code.attribute = location.module, location.attribute
        code.imports.extend(location.imports)
    return code


def _image(env: Environment, extra: Extra) -> common_pb2.Image | None:
    found = extra.images.get(env)
    if found is None:
        return None
    return common_pb2.Image(
        python_version=found.python_version,
        requirements=found.requirements,
        env_vars=dict(found.env_vars),
        workdir=found.workdir,
        lock=found.lock,
        lock_python=found.lock_python,
        index_options=found.index_options if found.lock else (),
    )


def _parameter(env: AppEnvironment, each: Parameter, extra: Extra) -> scheduler_pb2.AppParameter:
    value = extra.values.get(env.name, {}).get(each.name, each.value)
    made = scheduler_pb2.AppParameter(
        name=each.name, env_var=each.env_var or "", mount=each.mount or ""
    )
    if value is None or isinstance(value, RunOutput) or is_content(value):
        raise ParameterMaterializationError(
            f"parameter `{each.name}` of app `{env.name}` has no value: declare one, or give one "
            "with `with_servecontext(parameter_values={…})`"
        )
    if isinstance(value, AppEndpoint):
        made.app_endpoint = value.app_name
        made.public = value.public
    elif isinstance(value, Content):
        made.blob.CopyFrom(
            common_pb2.BlobRef(digest=value.digest, size=value.size, media=value.media)
        )
        made.file_name = value.name
    else:
        made.text = text_of(cast("Scalar", value))
    return made


def _app_dependencies(env: Environment) -> list[str]:
    """Names of the apps that it depends on, through task environments too."""
    found: list[str] = []
    for each in env.depends_on:
        more = [each.name] if isinstance(each, AppEnvironment) else _app_dependencies(each)
        found += [name for name in more if name not in found]
    return found


def secret_refs(secrets: Iterable[Secret]) -> list[common_pb2.SecretRef]:
    """Requests for secrets as the mesh takes them."""
    return [
        common_pb2.SecretRef(
            key=each.key, group=each.group or "", env_var=each.variable, mount=each.file
        )
        for each in secrets
    ]


def resources_asked(resources: Resources) -> common_pb2.Resources:
    """Resources as the mesh takes them."""
    return common_pb2.Resources(
        cpu=resources.cores,
        memory=resources.memory_bytes,
        disk=resources.disk_bytes,
        gpu=resources.device,
    )


def _app_timeouts(env: AppEnvironment) -> scheduler_pb2.AppTimeouts:
    limits = scheduler_pb2.AppTimeouts()
    for name in ("request", "startup", "drain"):
        amount = seconds_of(getattr(env.timeouts, name), name)
        if amount:
            getattr(limits, name).FromNanoseconds(round(amount * 1e9))
    return limits


def _duration(span: Span | None) -> Duration | None:
    amount = seconds(span)
    if not amount:
        return None
    made = Duration()
    made.FromNanoseconds(round(amount * 1e9))
    return made
