"""Ready is shown once every connected node's Envoy has taken the view that says so."""

from __future__ import annotations

from collections.abc import Callable

from callmesh_server.changes import AppChanged, Changes
from callmesh_server.core.actions import PutApp
from callmesh_server.core.ledger import Ledger
from callmesh_server.routed import Routed
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2

NAME = AppName("default", "development", "shop")
READY, FAILED = scheduler_pb2.APP_STATE_READY, scheduler_pb2.APP_STATE_FAILED


class Told:
    """One app in a world, and how often its watchers were told."""

    def __init__(self) -> None:
        self.ledger, changes = Ledger(), Changes()
        self.count = 0
        changes.listen(AppChanged(NAME), self._tell)
        self.timers: list[Callable[[], None]] = []
        self.routed = Routed(
            self.ledger.world, changes, lambda _, elapsed: self.timers.append(elapsed)
        )

    def put(self, revision: int, state: scheduler_pb2.AppState = READY) -> scheduler_pb2.App:
        app = scheduler_pb2.App(revision=revision, serving_revision=revision, state=state)
        app.spec.project, app.spec.domain, app.spec.name = "default", "development", "shop"
        app.conditions.add(type="Ready", message="1 of 1 ready")
        self.ledger.apply(PutApp(app))
        return app

    def shown(self, app: scheduler_pb2.App) -> scheduler_pb2.App:
        copy = scheduler_pb2.App()
        copy.CopyFrom(app)
        self.routed.show(copy)
        return copy

    def _tell(self) -> None:
        self.count += 1


def test_ready_waits_for_every_node() -> None:
    told = Told()
    for node in ("one", "two"):
        told.routed.joined(node)
    app = told.put(1)
    assert told.routed.hides(app)
    told.routed.viewed(7, [NAME])
    told.routed.taken("one", 7)
    assert told.shown(app).state == scheduler_pb2.APP_STATE_DEPLOYING
    assert told.shown(app).conditions[0].message == "revision 1 is ready and is being routed to"
    assert told.count == 0
    told.routed.taken("two", 8)
    assert told.shown(app) == app
    assert told.count == 1
    # Another view changes nothing for it, another revision does.
    told.routed.viewed(9, [NAME])
    assert not told.routed.hides(app)
    assert told.routed.hides(told.put(2))


def test_a_node_that_leaves_is_not_waited_for() -> None:
    told = Told()
    told.routed.joined("one")
    app = told.put(1)
    told.routed.viewed(3, [NAME])
    told.routed.left("one")
    assert not told.routed.hides(app)
    assert told.count == 1
    told.routed.taken("one", 2)
    assert not told.routed.hides(app), "said by a session that has ended"


def test_what_was_ready_before_a_restart_stays_so() -> None:
    told = Told()
    app = told.put(4)
    told.routed.restore()
    told.routed.joined("one")
    told.routed.viewed(1, [NAME])
    assert not told.routed.hides(app)


def test_what_failed_is_told_at_once_and_is_routed_to_anew() -> None:
    told = Told()
    told.routed.joined("one")
    failed = told.put(1, FAILED)
    assert not told.routed.hides(failed)
    told.routed.viewed(1, [NAME])
    app = told.put(1)
    told.routed.viewed(2, [NAME])
    assert told.routed.hides(app)
    told.routed.taken("one", 2)
    assert not told.routed.hides(app)


def test_a_node_that_joins_does_not_hide_what_was_routed_to() -> None:
    told = Told()
    app = told.put(1)
    told.routed.viewed(1, [NAME])
    assert not told.routed.hides(app)
    told.routed.joined("one")
    assert not told.routed.hides(app)
    # The next revision waits for it.
    app = told.put(2)
    told.routed.viewed(2, [NAME])
    assert told.routed.hides(app)


def test_a_node_that_takes_too_long_does_not_hold_up_the_others() -> None:
    told = Told()
    for node in ("one", "two"):
        told.routed.joined(node)
    app = told.put(1)
    told.routed.viewed(1, [NAME])
    (elapsed,) = told.timers
    elapsed()
    assert told.routed.hides(app), "it can be called nowhere"
    told.routed.taken("two", 1)
    assert not told.routed.hides(app)
    assert told.count == 1


def test_the_time_of_an_earlier_revision_is_not_that_of_the_next() -> None:
    told = Told()
    for node in ("one", "two"):
        told.routed.joined(node)
    told.put(1)
    told.routed.viewed(1, [NAME])
    app = told.put(2)
    told.routed.viewed(2, [NAME])
    told.routed.taken("two", 2)
    told.timers[0]()
    assert told.routed.hides(app)
    told.timers[1]()
    assert not told.routed.hides(app)


def test_an_app_that_moves_to_another_port_waits_for_the_next_view() -> None:
    told = Told()
    told.routed.joined("one")
    app = told.put(1)
    told.routed.viewed(1, [NAME])
    told.routed.forget(NAME)
    told.routed.taken("one", 1)
    assert told.routed.hides(app)
    told.routed.viewed(2, [NAME])
    told.routed.taken("one", 2)
    assert not told.routed.hides(app)
    assert told.count == 1
