"""The user's file: imported, and looked into for environments and tasks."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from callmesh.cli import output

if TYPE_CHECKING:
    from callmesh.environment import Environment
    from callmesh.task import Task


def module_of(file: str) -> ModuleType:
    """Import a file under the name that a worker will use.

    What it prints meanwhile goes to stderr: stdout is for the command's answer.
    Ends the command for a file that is not there, and, with the traceback cut to
    the user's frames, for code that raises.
    """
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        output.stop(f"`{file}` {what}", code=output.USAGE)
    if path.suffix != ".py":
        output.stop(f"`{file}` must be a Python file", code=output.USAGE)
    from callmesh._failure import complaint, user_traceback
    from callmesh._modules import import_name

    name, folder = import_name(path)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _import(name, path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything
        refused = complaint(error)
        if refused:
            output.stop(refused, code=output.USAGE)
        output.say(user_traceback(error, libraries=False).rstrip())
        output.stop(f"`{file}` could not be imported", code=output.USAGE)


def environments_of(module: ModuleType) -> dict[str, Environment]:
    """The module's environments by variable: those that it declares, else those it imports."""
    from callmesh.environment import Environment

    found = {name: value for name, value in vars(module).items() if isinstance(value, Environment)}
    own = {
        name: value
        for name, value in found.items()
        if Path(value.origin.file).resolve() == Path(str(module.__file__)).resolve()
    }
    return own or found


def choose(module: ModuleType, names: Iterable[str]) -> list[Environment]:
    """The environments of some variables or names; all of the module's for none.

    Ends the command for an unknown one.
    """
    from callmesh.environment import Environment

    known = environments_of(module)
    if not known:
        output.stop(
            f"`{module.__file__}` declares no environment",
            hint="write `env = callmesh.TaskEnvironment(name=…)` or an app environment",
            code=output.USAGE,
        )
    chosen: list[Environment] = []
    for name in names:
        value = vars(module).get(name)
        if not isinstance(value, Environment):
            value = next((each for each in known.values() if each.name == name), None)
        if value is None:
            raise _unknown("environment", name, known)
        if not any(value is each for each in chosen):
            chosen.append(value)
    return chosen or _distinct(known.values())


def tasks_of(module: ModuleType) -> list[Task[..., Any]]:
    """The tasks of the module's environments."""
    return [
        task
        for each in environments_of(module).values()
        for task in getattr(each, "tasks", {}).values()
    ]


def task_of(module: ModuleType, name: str) -> Task[..., Any]:
    """A task of the module, by function, full or short name. Ends the command otherwise."""
    from callmesh.task import Task

    value = vars(module).get(name)
    if isinstance(value, Task):
        return value
    known = {task.name: task for task in tasks_of(module)}
    if name in known:
        return known[name]
    found = [task for task in known.values() if name in (task.func.__name__, task.short_name)]
    if len(found) == 1:
        return found[0]
    if found:
        output.stop(
            f"`{name}` is one of several tasks: {', '.join(f'`{each.name}`' for each in found)}",
            code=output.USAGE,
        )
    raise _unknown("task", name, [each.func.__name__ for each in known.values()])


class _FromSource(SourceFileLoader):
    """Without a bytecode cache, which misses a second edit within one second.

    What is deployed would be today's text with yesterday's declarations.
    """

    def get_code(self, _fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import(name: str, path: Path) -> ModuleType:
    known = sys.modules.get(name)
    if known is not None:
        if Path(str(getattr(known, "__file__", ""))).resolve() == path:
            return known
        output.stop(
            f"`{path.name}` has the name of a module that is loaded already: rename the file",
            code=output.USAGE,
        )
    package = name.rpartition(".")[0]
    if package:
        importlib.import_module(package)
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _distinct(environments: Iterable[Environment]) -> list[Environment]:
    chosen: list[Environment] = []
    for value in environments:
        if not any(value is each for each in chosen):
            chosen.append(value)
    return chosen


def _unknown(what: str, name: str, known: Iterable[str]) -> output.Stop:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names) or 'none'}"
    return output.Stop(f"there is no {what} `{name}` in this file", hint=hint, code=output.USAGE)
