"""Waiting for a run to end: what is said meanwhile, and how it ends."""

from __future__ import annotations

import json

from callmesh.cli import mesh, output, shapes, stories
from callmesh.cli.progress import Progress
from callmeshpb.v1 import scheduler_pb2


def until_ended(connected: mesh.Mesh, name: str, progress: Progress) -> scheduler_pb2.Run:
    """Wait until a run has ended; the run then, whatever became of it."""
    run = scheduler_pb2.Run()
    for run in connected.watch_run(name, progress):
        text = f"run {name}: {shapes.run_phase(run)}"
        if run.message and not run.HasField("ended_at"):
            progress.line(f"{text} - {run.message}")
        progress.waiting_for(text)
    return run


def show_end(run: scheduler_pb2.Run) -> int:
    """Print what a run returned; an error where it returned nothing. The exit code."""
    phase = shapes.run_phase(run)
    if run.phase == scheduler_pb2.RUN_PHASE_SUCCEEDED:
        if run.cached_from:
            output.say(run.message)
        large = sum(each.ref.size for each in run.outputs)
        if large:
            output.say(
                f"{large >> 20} MiB of it are kept by reference: `callmesh get io {run.name}` "
                "prints them, with `--to FOLDER` writes them"
            )
        output.data(json.dumps(shapes.outputs(run), ensure_ascii=False))
        return output.DONE
    lines = [f"run `{run.name}` {phase.replace('_', ' ')}: {_why(run)}"]
    if run.error.traceback:
        lines += ["", *stories.failure(run.error)]
    output.error("\n".join(lines), f"`callmesh logs run/{run.name}` shows what it wrote")
    return output.FAILED


def _why(run: scheduler_pb2.Run) -> str:
    if not run.HasField("error"):
        return run.message
    return f"{run.error.type}: {run.error.message}" if run.error.message else run.error.type
