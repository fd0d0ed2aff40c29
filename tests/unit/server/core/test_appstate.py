"""What is said of an app while it is on its way."""

from __future__ import annotations

from core_world import app_spec

from callmeshpb.v1 import scheduler_pb2 as pb


def test_a_start_that_takes_long_says_what_it_waits_for(core):
    core.deploy(app_spec())
    silent = "nothing of it listens on port 9000 yet"
    core.report(core.only("web").id, pb.INSTANCE_STATE_STARTING, message=silent)
    assert core.said("web") == ("Starting", f"revision 1 is starting: 0 of 1 ready; {silent}")
