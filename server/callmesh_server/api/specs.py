"""What apps and task environments may declare."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterable

from google.protobuf import duration_pb2

from callmesh_server.api.validate import MAX_TEXT, Problems
from callmesh_server.store.secrets import secret_name
from callmesh_wire.names import (
    NameProblem,
    check_app,
    check_environment,
    check_scope,
    check_secret,
    task_name,
)
from callmeshpb.v1 import common_pb2, scheduler_pb2

MAX_REPLICAS = 1_000
MAX_WORDS = 1_000
MAX_TASKS = 2_000
MAX_PARAMETERS = 1_000
# Bytes of JSON: an instance gets all of them in one environment variable.
MAX_PARAMETER_TEXT = 120 * 1024
MAX_LOCK = 512 * 1024
MAX_SCHEMA = 1024 * 1024
MAX_RETRIES = 1_000
MAX_SECONDS = 10 * 365 * 86_400.0

_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z"
)
_PYTHON = re.compile(r"3\.\d{1,2}\Z")
_INDEX_OPTION = re.compile(
    r"--(?:no-build|no-index|(?:default-index|extra-index-url|find-links|index|index-strategy"
    r"|index-url|no-binary|only-binary)=\S+)\Z"
)
_CREDENTIALS = re.compile(r"://[^/\s]*@")
# What `importlib` can import, which is more than an `import` statement can spell.
_MODULE = re.compile(r"[\w-]+(?:\.[\w-]+)*\Z")


def check_app_spec(spec: scheduler_pb2.AppSpec, problems: Problems) -> None:
    """Note every mistake of an app."""
    where = f"app `{spec.name[:70]}`"
    problems.name(check_app, spec.name)
    problems.name(lambda value: check_scope(value, "project"), spec.project, where)
    problems.name(lambda value: check_scope(value, "domain"), spec.domain, where)
    problems.version(spec.version, f"{where}: version")
    if spec.kind == scheduler_pb2.APP_KIND_UNSPECIFIED:
        problems.add(f"{where}: `kind` must be set")
    elif spec.kind == scheduler_pb2.APP_KIND_COMMAND and not (spec.command or spec.args):
        problems.add(f"{where}: must have `command` or `args`")
    elif spec.kind != scheduler_pb2.APP_KIND_COMMAND and not spec.code.attribute:
        problems.add(f"{where}: `code.attribute` must name the environment's variable")
    problems.within(spec.port, 0, 65_535, f"{where}: port")
    problems.within(spec.min_replicas, 0, MAX_REPLICAS, f"{where}: min_replicas")
    problems.within(spec.max_replicas, 0, MAX_REPLICAS, f"{where}: max_replicas")
    if spec.max_replicas and spec.max_replicas < spec.min_replicas:
        problems.add(f"{where}: `max_replicas` must not be under `min_replicas`")
    for words, name in ((spec.command, "command"), (spec.args, "args")):
        problems.count(words, MAX_WORDS, f"{where}: {name}")
        problems.text("".join(words), MAX_TEXT, f"{where}: {name}")
    _check_app_calls(spec, where, problems)
    _check_runtime(spec, where, problems)


def _check_app_calls(spec: scheduler_pb2.AppSpec, where: str, problems: Problems) -> None:
    problems.count(spec.parameters, MAX_PARAMETERS, f"{where}: parameters")
    for parameter in spec.parameters:
        if parameter.env_var:
            problems.env_name(parameter.env_var, f"{where}: parameter `{parameter.name[:60]}`")
        if parameter.WhichOneof("value") == "app_endpoint":
            problems.name(check_app, parameter.app_endpoint, f"{where}: parameters")
    texts = {each.name: each.text for each in spec.parameters if each.text}
    size = len(json.dumps(texts))
    if size > MAX_PARAMETER_TEXT:
        longest = max(texts, key=lambda name: len(texts[name]))
        problems.add(
            f"{where}: the parameters have {size:,} bytes, most of them `{longest[:60]}`: must be "
            f"at most {MAX_PARAMETER_TEXT:,}; put what is long into a `File`"
        )
    for name in ("request", "startup", "drain"):
        if spec.timeouts.HasField(name):
            span = getattr(spec.timeouts, name)
            check_duration(span, f"{where}: timeouts.{name}", problems, positive=name != "drain")
    if spec.health_path and not spec.health_path.startswith("/"):
        problems.add(f"{where}: `health_path` is `{spec.health_path[:70]}`: must begin with `/`")
    problems.text(spec.health_path, 2_048, f"{where}: health_path")
    if spec.custom_domain and not _HOST.match(spec.custom_domain):
        problems.add(
            f"{where}: `custom_domain` is `{spec.custom_domain[:70]}`: "
            "must be a lower-case host name"
        )
    problems.count(spec.links, 100, f"{where}: links")


def check_task_environment(spec: scheduler_pb2.TaskEnvironmentSpec, problems: Problems) -> None:
    """Note every mistake of an environment of tasks."""
    where = f"environment `{spec.name[:70]}`"
    problems.name(check_environment, spec.name)
    problems.name(lambda value: check_scope(value, "project"), spec.project, where)
    problems.name(lambda value: check_scope(value, "domain"), spec.domain, where)
    problems.version(spec.version, f"{where}: version")
    problems.count(spec.tasks, MAX_TASKS, f"{where}: tasks")
    seen = set()
    for task in spec.tasks:
        _check_task(spec, task, problems)
        if task.name in seen:
            problems.add(f"{where}: two tasks are called `{task.name[:130]}`")
        seen.add(task.name)
    _check_runtime(spec, where, problems)


def _check_task(
    spec: scheduler_pb2.TaskEnvironmentSpec, task: scheduler_pb2.TaskSpec, problems: Problems
) -> None:
    where = f"task `{task.name[:130]}`"
    try:
        expected = task_name(spec.name, task.name.partition(".")[2])
    except NameProblem as problem:
        problems.add(f"{where}: {problem}")
    else:
        if task.name != expected:
            problems.add(f"{where}: its name must begin with its environment's, `{spec.name}.`")
    problems.text(task.short_name, 130, f"{where}: short_name")
    problems.text(task.docs, MAX_TEXT, f"{where}: docs")
    problems.count(task.interface.parameters, MAX_PARAMETERS, f"{where}: parameters")
    size = task.interface.ByteSize()
    if size > MAX_SCHEMA:
        problems.add(f"{where}: `interface` has {size:,} bytes: must be at most {MAX_SCHEMA:,}")
    check_retries(task.retries, where, problems)
    check_timeouts(task.timeouts, where, problems)
    check_cache(task.cache, where, problems)
    check_resources(task.resources, where, problems)


def check_retries(policy: scheduler_pb2.RetryPolicy, where: str, problems: Problems) -> None:
    """Note a retry policy that cannot be kept."""
    problems.within(policy.count, 0, MAX_RETRIES, f"{where}: retries.count")
    if not (policy.factor == 0 or 1 <= policy.factor <= 1_000):
        problems.add(f"{where}: `retries.factor` is {policy.factor:g}: must be between 1 and 1000")
    for name in ("base", "cap"):
        if policy.HasField(name):
            check_duration(getattr(policy, name), f"{where}: retries.{name}", problems)


def check_cache(policy: scheduler_pb2.CachePolicy, where: str, problems: Problems) -> None:
    """Note a cache policy that cannot be kept."""
    problems.text(policy.version, 1024, f"{where}: cache.version")
    problems.count(policy.ignored_inputs, MAX_PARAMETERS, f"{where}: cache.ignored_inputs")
    if policy.HasField("max_age"):
        check_duration(policy.max_age, f"{where}: cache.max_age", problems)


def check_timeouts(limits: scheduler_pb2.TaskTimeouts, where: str, problems: Problems) -> None:
    """Note limits that no run could keep."""
    for name in ("max_runtime", "max_queued_time", "deadline"):
        if limits.HasField(name):
            span = getattr(limits, name)
            check_duration(span, f"{where}: timeouts.{name}", problems, positive=True)


def check_duration(
    span: duration_pb2.Duration, where: str, problems: Problems, *, positive: bool = False
) -> None:
    """Note a duration that is negative, absurd, or zero where it must not be."""
    seconds = span.seconds + span.nanos / 1e9
    if not 0 <= seconds <= MAX_SECONDS or (positive and seconds == 0):
        problems.add(f"`{where}` is {seconds:g} s: must be positive, and at most ten years")


def is_ip(address: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _check_runtime(
    spec: scheduler_pb2.AppSpec | scheduler_pb2.TaskEnvironmentSpec,
    where: str,
    problems: Problems,
) -> None:
    """What apps and tasks have in common."""
    code = spec.code
    if code.bundle:
        problems.digest(code.bundle, f"{where}: code.bundle")
    for field, module in (
        *((("code.module", code.module),) if code.module else ()),
        *(("code.imports", each) for each in code.imports),
    ):
        if not _MODULE.match(module) or len(module) > 1_000:
            problems.add(f"{where}: `{field}` is `{module[:70]}`: must be importable")
    problems.count(code.imports, 1_000, f"{where}: code.imports")
    problems.count(code.sys_path, 100, f"{where}: code.sys_path")
    problems.count(spec.image.requirements, 1_000, f"{where}: image.requirements")
    problems.text("".join(spec.image.requirements), MAX_TEXT, f"{where}: image.requirements")
    problems.env_vars(spec.image.env_vars, f"{where}: image.env_vars")
    _check_lock(spec.image, where, problems)
    problems.env_vars(spec.env_vars, f"{where}: env_vars")
    problems.text(spec.description, MAX_TEXT, f"{where}: description")
    problems.count(spec.depends_on, 100, f"{where}: depends_on")
    check_secrets(spec.secrets, where, problems)
    check_resources(spec.resources, where, problems)


def _check_lock(image: common_pb2.Image, where: str, problems: Problems) -> None:
    """What a node hands to `uv`."""
    problems.count(image.lock, 10_000, f"{where}: image.lock")
    problems.text("".join(image.lock), MAX_LOCK, f"{where}: image.lock")
    problems.count(image.index_options, 100, f"{where}: image.index_options")
    for each in image.index_options:
        problems.text(each, 2_000, f"{where}: image.index_options")
        if _CREDENTIALS.search(each):
            # The value is not repeated: answers are shown and logged.
            problems.add(
                f"{where}: `image.index_options` must have no user in an address: put it in "
                "`~/.netrc` on the nodes"
            )
        elif not _INDEX_OPTION.match(each):
            problems.add(f"{where}: `image.index_options` has `{each[:70]}`: must be known to us")
    if bool(image.lock) != bool(image.lock_python) or (
        image.lock_python and not _PYTHON.match(image.lock_python)
    ):
        problems.add(f"{where}: `image.lock` and `image.lock_python` ('3.12') belong together")


def check_secrets(refs: Iterable[common_pb2.SecretRef], where: str, problems: Problems) -> None:
    """Note secrets that cannot be given."""
    files = set()
    for ref in refs:
        problems.name(check_secret, secret_name(ref), where)
        if ref.mount and ref.mount in files:
            problems.add(f"{where}: two secrets are mounted at `{ref.mount[:70]}`")
        files.add(ref.mount)
        if ref.mount and (not ref.mount.startswith("/") or ".." in ref.mount.split("/")):
            problems.add(f"{where}: secret `{ref.key[:70]}`: `mount` must be an absolute path")
        if ref.env_var or not ref.mount:
            problems.env_name(ref.env_var, f"{where}: secret `{ref.key[:70]}`")


def check_resources(asked: common_pb2.Resources, where: str, problems: Problems) -> None:
    """Note resources that no node could have."""
    if not 0 <= asked.cpu <= 10_000 or math.isnan(asked.cpu):
        problems.add(f"{where}: `resources.cpu` must be between 0 and 10000")
    problems.within(asked.memory, 0, 2**50, f"{where}: resources.memory")
    problems.within(asked.disk, 0, 2**60, f"{where}: resources.disk")
    problems.text(asked.gpu, 100, f"{where}: resources.gpu")
