"""From a task and its arguments on the command line to the end of its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from callmesh import _deploying, values
from callmesh._sync import bridge
from callmesh._transport import new_request_id
from callmesh.cli import arguments, deploying, following, load, mesh, output, progress, shapes
from callmesh.cli.run import DEPLOYED, RunOptions, split
from callmesh.interface import encode_call, interface_of
from callmesh.remote.app import App
from callmeshpb.v1 import common_pb2, scheduler_pb2

if TYPE_CHECKING:
    from callmesh.task import Task

_CONNECTION = ("--project", "--domain", "--endpoint")


def of_file(file: str, name: str | None, tokens: list[str], options: RunOptions) -> int:
    """Run a task of a file. The exit code."""
    module = load.module_of(file)
    if name in ("--help", "-h"):
        return _help_of_file(file, load.tasks_of(module))
    if name is None:
        known = [task.func.__name__ for task in load.tasks_of(module)]
        output.stop(
            f"which task? `{file}` has {', '.join(f'`{each}`' for each in known) or 'none'}",
            hint=f"`callmesh run {file} TASK --help` explains one",
            code=output.USAGE,
        )
    task = load.task_of(module, name)
    interface = interface_of(task.func)
    usage = f"callmesh run {file} {name}"
    own, options, asks_help = split(tokens, [each.name for each in interface.parameters], options)
    if asks_help:
        return _help(task.name, interface, task.docs, usage)
    given = arguments.parse(interface, own, usage)
    connected = None if options.local else mesh.connect(options.where)
    given = arguments.stored(given)
    wire = {key: common_pb2.Value(json=json.dumps(each).encode()) for key, each in given.items()}
    decoded = values.decode_inputs(task.func, wire)
    if connected is None:
        from callmesh.cli import running_here

        return running_here.run(task, decoded, options)
    reference = _register(connected, task, options)
    inputs = values.encode_inputs(task.func, (), decoded)
    return _run(connected, reference, inputs, options)


def deployed(name: str, tokens: list[str], options: RunOptions) -> int:
    """Run a deployed task. The exit code."""
    # Where to look must be known before the task's own parameters can be.
    _, early, _ = split(tokens, (), options)
    connected = mesh.connect(early.where)
    found = connected.task(name, early.version)
    interface = found.spec.interface
    usage = f"callmesh run {DEPLOYED} {name}"
    own, options, asks_help = split(tokens, [each.name for each in interface.parameters], options)
    if asks_help:
        return _help(found.spec.name, interface, found.spec.docs, usage)
    given = arguments.stored(arguments.parse(interface, own, usage))
    reference = scheduler_pb2.TaskRef(
        scope=connected.scope, name=found.spec.name, version=found.environment.version
    )
    return _run(connected, reference, _encoded(found, given), options)


def again(name: str, options: RunOptions) -> int:
    """Run a task as in an earlier run. The exit code."""
    from callmesh.run import submission_again

    connected = mesh.connect(options.where)
    submission = submission_again(connected.run(name))
    return _submit(connected, submission, options)


def _encoded(found: scheduler_pb2.Task, given: dict[str, Any]) -> dict[str, common_pb2.Value]:
    async def encode() -> dict[str, common_pb2.Value]:
        return encode_call(found.spec.name, found.spec.interface, (), given)

    return bridge().run(encode())


def _register(
    connected: mesh.Mesh, task: Task[..., Any], chosen: RunOptions
) -> scheduler_pb2.TaskRef:
    """Register the task's environment for this run; wait for apps that were absent."""
    deploying.say_notices()
    options = _deploying.Options(
        project=connected.scope.project,
        domain=connected.scope.domain,
        ephemeral=True,
        copy_style=chosen.copy_style,
        version=chosen.version,
    )

    async def register() -> tuple[str, scheduler_pb2.DeployResponse]:
        prepared = await _deploying.prepare([task.environment], options)
        if chosen.no_deps:
            del prepared.request.apps[:]
        deploying.tell(prepared.notices)
        return prepared.request.version, await _deploying.send(prepared)

    with progress.Progress("registering the task"), deploying.definitions():
        version, answer = bridge().run(register())
    deploying.tell(answer.notices)
    deploying.until_ready([App(each) for each in answer.apps if not each.serving_revision])
    return scheduler_pb2.TaskRef(scope=connected.scope, name=task.name, version=version)


def _run(
    connected: mesh.Mesh,
    reference: scheduler_pb2.TaskRef,
    inputs: dict[str, common_pb2.Value],
    options: RunOptions,
) -> int:
    return _submit(connected, scheduler_pb2.Submission(task=reference, inputs=inputs), options)


def _submit(connected: mesh.Mesh, submission: scheduler_pb2.Submission, options: RunOptions) -> int:
    submission.request_id = new_request_id()
    submission.run_name = options.name
    submission.run_env_vars.update(options.env_vars)
    name = connected.submit(submission).name
    if options.detach:
        output.data(name)
        return output.DONE
    output.say(f"run {name}")
    goes_on = f"run `{name}` goes on; `callmesh abort {name}` ends it"
    with progress.goes_on(goes_on), progress.Progress(f"run {name}") as shown:
        ended = following.until_ended(connected, name, shown)
    if options.as_json:
        output.show_json(shapes.run(ended))
        succeeded = ended.phase == scheduler_pb2.RUN_PHASE_SUCCEEDED
        return output.DONE if succeeded else output.FAILED
    return following.show_end(ended)


def _help_of_file(file: str, tasks: Sequence[Task[..., Any]]) -> int:
    output.data(f"Usage: callmesh run {file} TASK [--ARGUMENT VALUE]...")
    output.data("\nTasks:" if tasks else "\nIt declares no task.")
    width = max((len(each.func.__name__) for each in tasks), default=0)
    for each in tasks:
        about = (each.docs or "").strip().split("\n", 1)[0]
        head = f"  {each.func.__name__:<{width}}  "
        lines = output.wrapped(about, " " * len(head))
        output.data(head.rstrip() if not lines else head + lines[0].lstrip())
        for line in lines[1:]:
            output.data(line)
    if tasks:
        output.data(f"\n`callmesh run {file} TASK --help` explains one.")
    return output.DONE


def _help(task: str, interface: scheduler_pb2.TaskInterface, docs: str, usage: str) -> int:
    for line in arguments.explain(task, interface, docs, usage):
        output.data(line)
    return output.DONE
