"""Names that a shell completes: what the mesh has, and what a file declares.

A shell waits for it: the mesh is asked for a second at most, a file is read and
not imported, and whatever goes wrong there is nothing to complete.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from callmesh.cli.mesh import Mesh

TIMEOUT = 1.0
MOST = 200

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def app_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Apps of the mesh."""
    return _beginning(incomplete, _asked(ctx, _apps))


def run_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The newest runs."""
    return _beginning(incomplete, _asked(ctx, _runs))


def task_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Deployed tasks."""
    return _beginning(incomplete, _asked(ctx, _tasks))


def secret_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Secrets."""
    return _beginning(incomplete, _asked(ctx, _secrets))


def node_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Nodes."""
    return _beginning(incomplete, _asked(ctx, _nodes))


def log_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Whose logs there are: apps and runs, also as ``app/NAME`` and ``run/NAME``."""
    kind, slash, name = incomplete.partition("/")
    if slash:
        names = _asked(ctx, {"app": _apps, "run": _runs}.get(kind, _nothing))
        return [f"{kind}/{each}" for each in _beginning(name, names)]
    return _beginning(incomplete, [*_asked(ctx, _apps), *_asked(ctx, _runs)])


def kinds(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """What `describe` tells of."""
    return _beginning(incomplete, ("app", "run", "task", "node"))


def described(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Objects of the kind that the word before names."""
    known = {"app": app_names, "run": run_names, "task": task_names, "node": node_names}
    complete = known.get(str(ctx.params.get("kind")))
    return complete(ctx, parameter, incomplete) if complete else []


def environments_of_file(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """The variables of environments that the command's file declares."""
    return _beginning(incomplete, (name for kind, name in _declared(ctx) if kind != "task"))


def apps_of_file(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The variables of apps that the command's file declares."""
    return _beginning(incomplete, (name for kind, name in _declared(ctx) if kind == "app"))


def tasks_of_file(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The tasks that the command's file declares, or the deployed ones."""
    if ctx.params.get("file") == "deployed-task":
        return task_names(ctx, parameter, incomplete)
    return _beginning(incomplete, (name for kind, name in _declared(ctx) if kind == "task"))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _asked(ctx: click.Context, question: Callable[[Mesh], list[str]]) -> list[str]:
    """What the mesh answers; nothing where it does not."""
    from callmesh.cli import mesh, output
    from callmesh.cli.options import Where
    from callmesh.errors import InitializationError
    from callmesh_wire.errors import CallmeshError

    given = [str(ctx.params.get(each) or "") for each in ("project", "domain", "endpoint")]
    try:
        return question(mesh.connect(Where(*given)))
    except (CallmeshError, InitializationError, OSError, ValueError, output.Stop):
        return []


def _names(found: Mesh, noun: str, service: str = "Scheduler") -> list[str]:
    """Of the objects that ``List<noun>s`` answers with."""
    from callmesh_wire.methods import methods

    method = methods()[f"{service}Service/List{noun}s"]
    scoped = "scope" in method.request.DESCRIPTOR.fields_by_name
    request = method.request(page_size=MOST, **({"scope": found.scope} if scoped else {}))
    answer: Any = found.ask(method.response, f"{service}Service/{method.name}", request, TIMEOUT)
    return [getattr(each, "spec", each).name for each in getattr(answer, f"{noun.lower()}s")]


def _apps(found: Mesh) -> list[str]:
    return _names(found, "App")


def _runs(found: Mesh) -> list[str]:
    return _names(found, "Run")


def _tasks(found: Mesh) -> list[str]:
    return _names(found, "Task")


def _secrets(found: Mesh) -> list[str]:
    return _names(found, "Secret", "Secret")


def _nodes(found: Mesh) -> list[str]:
    return _names(found, "Node")


def _nothing(_found: Mesh) -> list[str]:
    return []


def _declared(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """``("app" | "tasks" | "task", name)`` for each declaration in the command's file."""
    tree = ast.Module([], [])
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        tree = ast.parse(Path(str(ctx.params.get("file"))).expanduser().read_bytes())
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=called)):
                kind = ast.unparse(called).rpartition(".")[2]
                if kind.endswith("TaskEnvironment"):
                    yield "tasks", name
                elif kind.endswith("Environment"):
                    yield "app", name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                decorators = [
                    each.func if isinstance(each, ast.Call) else each
                    for each in node.decorator_list
                ]
                if any(isinstance(d, ast.Attribute) and d.attr == "task" for d in decorators):
                    yield "task", name
