"""`python -m callmesh_up up|server|agent|down|doctor …`."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> int:
    """Run one verb; the exit code."""
    try:
        return _run(sys.argv[1:])
    except KeyboardInterrupt as told:
        sys.stderr.write(f"interrupted: {told}\n" if str(told) else "interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): what is still buffered has no place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    # Imported where a Ctrl-C is met: that takes most of a start.
    from callmesh_up import detach, down
    from callmesh_up.layout import LayoutProblem, find
    from callmesh_up.options import AgentOptions, DoctorOptions, DownOptions, ServerOptions, parse
    from callmesh_up.record import AlreadyRunning
    from callmesh_up.speaker import Speaker

    # What gRPC's core says of a port or of a handshake is said by us as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options = parse(arguments)
    if isinstance(options, DoctorOptions):
        from callmesh_up import doctor

        return doctor.run(find(options.state_dir, os.environ), as_json=options.as_json)
    layout = find(options.state_dir, os.environ)
    try:
        if isinstance(options, DownOptions):
            return down.run(layout, purge=options.purge)
        if isinstance(options, ServerOptions):
            from callmesh_up import control

            return control.run(options, layout)
        if isinstance(options, AgentOptions):
            from callmesh_up import node

            return node.run(options, layout)
        if options.detach:
            return detach.start(options, layout)
        from callmesh_up import up

        return up.run(options, layout)
    except (LayoutProblem, AlreadyRunning) as problem:
        Speaker(None).problem(str(problem))
        return 1


if __name__ == "__main__":
    sys.exit(main())
