"""Apps: the same deploy again, activation, rollback."""

from __future__ import annotations

import pytest
from core_world import DRAIN, STOP, app_spec, endpoints, intents

from callmesh_wire.errors import FailedPreconditionError, NotFoundError
from callmeshpb.v1 import scheduler_pb2 as pb


def test_redeploying_the_same_keeps_the_revision(core):
    core.deploy(app_spec(version="a"))
    core.ready("web")
    core.deploy(app_spec(version="b", description="new", min_replicas=2))
    app = core.app("web")
    assert (app.revision, app.serving_spec.version, len(core.instances("web"))) == (1, "b", 2)


def test_a_deploy_activates_what_is_inactive(core):
    core.deploy(app_spec())
    core.ready("web")
    core.update("web", desired_state=pb.DESIRED_STATE_INACTIVE)
    core.all_gone("web")
    core.deploy(app_spec())
    core.ready("web")
    app = core.app("web")
    assert (app.revision, app.state) == (1, pb.APP_STATE_READY)


def test_deploying_a_failed_revision_again_tries_it_anew(core):
    core.deploy(app_spec())
    failing = core.only("web")
    core.report(failing.id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3)
    assert core.app("web").state == pb.APP_STATE_FAILED
    core.deploy(app_spec())
    app = core.app("web")
    assert (app.revision, app.state) == (2, pb.APP_STATE_DEPLOYING)
    assert intents(core)[failing.id] == STOP
    core.deploy(app_spec())
    assert core.app("web").revision == 2


def test_deactivate_and_activate(core):
    core.deploy(app_spec())
    core.ready("web")
    core.update("web", desired_state=pb.DESIRED_STATE_INACTIVE)
    assert core.app("web").state == pb.APP_STATE_INACTIVE
    assert core.said("web")[1] == "is being deactivated: 1 instance to stop"
    assert core.only("web").intent == DRAIN
    core.all_gone("web")
    assert core.said("web")[1] == "is inactive: activate it to call it"
    assert endpoints(core) == []
    core.update("web", desired_state=pb.DESIRED_STATE_ACTIVE)
    core.ready("web")
    assert core.app("web").state == pb.APP_STATE_READY


def test_rollback_is_a_new_revision(core):
    core.deploy(app_spec(args=["one"]))
    core.ready("web")
    core.deploy(app_spec(args=["two"]))
    core.ready("web")
    core.update("web", rollback_to=0)
    app = core.app("web")
    assert (app.revision, list(app.spec.args)) == (3, ["one"])
    core.ready("web")
    assert core.app("web").serving_revision == 3


def test_rollback_without_a_ready_revision_is_refused(core):
    core.deploy(app_spec())
    with pytest.raises(FailedPreconditionError, match="no earlier revision"):
        core.update("web", rollback_to=0)
    with pytest.raises(NotFoundError, match="no revision 7"):
        core.update("web", rollback_to=7)
