"""`callmesh`: the commands, each loaded when it is used, and how every one ends."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from callmesh.cli import output


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: where it is, and its line in the help."""

    module: str
    summary: str
    section: str


_MESH, _DEPLOY, _LOOK, _CHANGE = "The mesh", "Deploy and call", "Look", "Change"
COMMANDS = {
    "up": Entry("up", "Start a mesh on this machine.", _MESH),
    "server": Entry("server", "Run a control plane for nodes on other machines.", _MESH),
    "agent": Entry("agent", "Make this machine a node of a mesh.", _MESH),
    "down": Entry("up", "End it.", _MESH),
    "status": Entry("status", "Say what the mesh is and how its nodes are.", _MESH),
    "doctor": Entry("doctor", "Say what is wrong with this machine or mesh.", _MESH),
    "deploy": Entry("deploy", "Deploy the apps and tasks of a file.", _DEPLOY),
    "serve": Entry("serve", "Deploy one app of a file and wait until it serves.", _DEPLOY),
    "dev": Entry("dev", "Deploy a file at every save, and follow its apps.", _DEPLOY),
    "run": Entry("run", "Run a task and print what it returns.", _DEPLOY),
    "rerun": Entry("rerun", "Run a task again as in an earlier run.", _DEPLOY),
    "call": Entry("call", "Send an HTTP request to an app and print the answer.", _DEPLOY),
    "open": Entry("open", "Open an app in the browser.", _DEPLOY),
    "get": Entry("get", "List apps, runs, tasks, nodes or secrets, or show one.", _LOOK),
    "describe": Entry("describe", "Tell all about an app, run, task or node.", _LOOK),
    "logs": Entry("logs", "Print what an app or a run wrote.", _LOOK),
    "abort": Entry("abort", "End a run and its child runs.", _CHANGE),
    "drain": Entry("drain", "Move a node's work elsewhere.", _CHANGE),
    "undrain": Entry("drain", "Take a drained node back into use.", _CHANGE),
    "rollback": Entry("rollback", "Go back to an app's revision before.", _CHANGE),
    "delete": Entry("delete", "Delete an app, a node or a secret.", _CHANGE),
    "create": Entry("create", "Create a secret.", _CHANGE),
    "completion": Entry("completion", "Print the completion script of a shell.", _MESH),
}
EPILOG = """\b
Start here:
  callmesh up                          a mesh on this machine
  callmesh deploy app.py               every app and task of a file
  callmesh call my-app /               a request through the mesh
  callmesh run app.py my_task --x 1    a task, and what it returns

\b
The mesh is found by --endpoint, by CALLMESH_ENDPOINT, by a config file
(.callmesh/config.yaml, here or at home), or in the state folder of
`callmesh up`, in that order.
Exit codes: 0 done, 1 the work failed or the object does not exist, 2 wrong
usage or definition, 3 the control plane cannot be reached.
"""


class Commands(click.Group):
    """The commands, none of which is imported to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for an unknown one."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"callmesh.cli.{entry.module}")
        found = getattr(module, f"{cmd_name}_command")
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section."""
        width = max(len(name) for name in COMMANDS)
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            rows = [
                (f"{name:<{width}}", entry.summary)
                for name, entry in COMMANDS.items()
                if entry.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is an error that names the nearest."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `callmesh {near[0]}`?" if near else "see `callmesh --help`"
            output.stop(f"there is no command `{args[0]}`", hint=hint, code=output.USAGE)
        return super().resolve_command(ctx, args)


@click.command(
    cls=Commands,
    name="callmesh",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": output.WIDTH},
)
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.pass_context
def cli(ctx: click.Context, *, version: bool) -> None:
    """A service mesh in which Python tasks and apps find and call each other."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The program. Never returns: exits with the code that says how it ended."""
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    # Nothing of the control plane's client needs a farewell that a user waits for.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code. Prints errors as errors, never a traceback of ours."""
    if arguments == ["--version"]:
        from callmesh import __version__

        output.data(f"callmesh {__version__}")
        return output.DONE
    try:
        result = cli.main(args=arguments, prog_name="callmesh", standalone_mode=False)
    except output.Stop as ended:
        output.error(ended.message, ended.hint)
        return ended.code
    except click.UsageError as problem:
        return _usage(problem)
    except click.ClickException as problem:
        output.error(problem.format_message())
        return output.USAGE
    except (click.Abort, KeyboardInterrupt) as ended:
        sentence = str(ended.__cause__ or ended)
        output.say(f"interrupted: {sentence}" if sentence else "interrupted")
        return output.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return output.FAILED
    except Exception as error:  # noqa: BLE001 - the edge: everything else becomes a sentence
        from callmesh.cli import problems

        return problems.report(error)
    return result if isinstance(result, int) else output.DONE


def _usage(problem: click.UsageError) -> int:
    if type(problem).__name__ == "NoArgsIsHelpError":  # of click 8.2 and newer
        output.say(problem.format_message())
        return output.USAGE
    where = problem.ctx.command_path if problem.ctx else "callmesh"
    message = problem.format_message().rstrip(".")
    output.error(message[:1].lower() + message[1:], f"see `{where} --help`")
    return output.USAGE


def _silence_stdout() -> None:
    """The reader has gone (`| head`): what is still buffered has no place to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
