"""An app's record as users change it: deploy, scale, roll back, activate, delete.

Each function takes the record as it is and returns the next one; the caller
puts it (`PutApp`, durable) and answers with it. What follows is decided
afterwards by ``deployments.reconcile``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from callmesh_server.core import conditions
from callmesh_server.core.times import stamp
from callmesh_wire.errors import ConflictError, FailedPreconditionError, NotFoundError
from callmeshpb.v1 import scheduler_pb2
from callmeshpb.v1.scheduler_pb2 import App, AppRevision, AppSpec, UpdateAppRequest

HISTORY = 10
# Not part of a revision's identity: changing them restarts nothing.
_LABELS = ("version", "description", "links", "min_replicas", "max_replicas")


def deployed(before: App | None, spec: AppSpec, mesh_port: int, now: float) -> App:
    """The record after a deploy of ``spec``.

    A new revision if there was none, if what runs would differ, or if the
    newest one failed, which is tried anew; a mere change of labels or of the
    number of replicas keeps the revision. An app that is being deleted comes
    back with a new revision, one that is inactive becomes active. ``mesh_port``
    is the app's from ``ports.assign``. ``endpoint`` and ``url`` are the
    caller's to fill in.
    """
    if before is None:
        app = App()
        app.created_at.CopyFrom(stamp(now))
    else:
        app = _next(before)
    app.mesh_port = mesh_port
    app.desired_state = scheduler_pb2.DESIRED_STATE_ACTIVE
    if before is not None and _goes_on(before, spec):
        _relabel(app, spec)
    else:
        _add_revision(app, spec, now)
    app.updated_at.CopyFrom(stamp(now))
    return app


def updated(before: App, request: UpdateAppRequest, now: float) -> App:
    """The record after an `UpdateApp`.

    Raises `ConflictError` for another etag, `FailedPreconditionError` while the
    app is being deleted, and `NotFoundError` for a revision that is not kept.
    """
    if request.etag and request.etag != before.etag:
        raise ConflictError(
            f"app `{before.spec.name}` changed meanwhile: read it and try again",
        )
    if before.deleting:
        raise FailedPreconditionError(
            f"app `{before.spec.name}` is being deleted: deploy it again to bring it back"
        )
    app = _next(before)
    app.updated_at.CopyFrom(stamp(now))
    match request.WhichOneof("change"):
        case "desired_state":
            app.desired_state = request.desired_state
            if request.desired_state == scheduler_pb2.DESIRED_STATE_ACTIVE:
                # Asking again is how a user retries a revision that failed.
                _drop_condition(app, conditions.PROGRESSING)
        case "scale":
            spec = AppSpec()
            spec.CopyFrom(app.spec)
            spec.min_replicas = request.scale.min_replicas
            spec.max_replicas = max(request.scale.max_replicas, request.scale.min_replicas)
            _relabel(app, spec)
        case "rollback_to":
            target = _rollback_target(before, request.rollback_to)
            spec = AppSpec()
            spec.CopyFrom(target.spec)
            _add_revision(app, spec, now)
    return app


def deleted(before: App, now: float) -> App:
    """The record after a `DeleteApp`; it stays until its instances are gone."""
    app = _next(before)
    app.deleting = True
    app.updated_at.CopyFrom(stamp(now))
    return app


def same_revision(one: AppSpec, other: AppSpec) -> bool:
    """Whether two specifications run the same thing."""
    return _identity(one) == _identity(other)


def spec_of(app: App, revision: int) -> AppSpec | None:
    """The specification of a revision, or None if it is no longer kept."""
    if revision == app.revision:
        return app.spec
    if revision == app.serving_revision:
        return app.serving_spec
    for each in app.history:
        if each.revision == revision:
            return each.spec
    return None


def wanted_replicas(spec: AppSpec) -> int:
    """How many instances a specification asks for; 0 counts as 1."""
    return int(max(1, spec.min_replicas))


def hard_coded_port(spec: AppSpec) -> int:
    """The declared port, if the command names it; else 0.

    Such an app binds that port itself, so there is room for one on a node, and
    a new revision can start only after the old one has ended.
    """
    if not spec.port:
        return 0
    token = re.compile(rf"(?<![0-9.]){spec.port}(?![0-9.])")
    named = any(token.search(each) for each in (*spec.command, *spec.args))
    return int(spec.port) if named else 0


def notices(spec: AppSpec) -> list[str]:
    """What the person who deploys should know, a line each."""
    name, lines = spec.name, []
    port = hard_coded_port(spec)
    if port:
        lines.append(
            f"app `{name}` binds port {port} itself, so a new revision starts after the old "
            "one has stopped; use `$PORT` in its command for a rollout without a gap"
        )
    if spec.min_replicas == 0:
        lines.append(f"app `{name}`: scaling to zero is not available yet, 0 replicas count as 1")
    count = wanted_replicas(spec)
    if spec.max_replicas > count:
        lines.append(
            f"app `{name}` may have up to {spec.max_replicas} instances: {count} run, for scaling "
            "by load is not available yet"
        )
    if spec.requires_auth:
        lines.append(
            f"app `{name}` asks for `requires_auth`, which the mesh keeps and does not enforce yet"
        )
    return lines


def marked_ready(app: App, revision: int) -> None:
    """Note on a record of the caller's own that a revision was ready and serves now."""
    app.serving_revision = revision
    spec = AppSpec()
    spec.CopyFrom(app.spec)
    app.serving_spec.CopyFrom(spec)
    for each in app.history:
        if each.revision == revision:
            each.was_ready = True


def _goes_on(app: App, spec: AppSpec) -> bool:
    """Whether the newest revision is this one already, and has not failed."""
    has_failed = conditions.holds(app, conditions.PROGRESSING, conditions.START_FAILED)
    return not app.deleting and not has_failed and same_revision(app.spec, spec)


def _next(before: App) -> App:
    app = App()
    app.CopyFrom(before)
    app.etag += 1
    return app


def _add_revision(app: App, spec: AppSpec, now: float) -> None:
    app.revision += 1
    app.spec.CopyFrom(spec)
    app.desired_state = scheduler_pb2.DESIRED_STATE_ACTIVE
    if app.deleting:
        app.deleting = False
        app.serving_revision = 0
        app.ClearField("serving_spec")
    entry = AppRevision(revision=app.revision, spec=spec)
    entry.created_at.CopyFrom(stamp(now))
    kept = [entry, *app.history][:HISTORY]
    del app.history[:]
    app.history.extend(kept)


def _relabel(app: App, spec: AppSpec) -> None:
    app.spec.CopyFrom(spec)
    if app.serving_revision == app.revision:
        app.serving_spec.CopyFrom(spec)
    for each in app.history:
        if each.revision == app.revision:
            each.spec.CopyFrom(spec)


def _rollback_target(app: App, revision: int) -> AppRevision:
    candidates: Iterable[AppRevision] = (
        (each for each in app.history if each.revision == revision)
        if revision
        else (each for each in app.history if each.was_ready and each.revision < app.revision)
    )
    for each in candidates:
        return each
    if revision:
        kept = ", ".join(str(each.revision) for each in app.history) or "none"
        raise NotFoundError(
            f"app `{app.spec.name}` has no revision {revision} to go back to; kept are: {kept}"
        )
    raise FailedPreconditionError(
        f"app `{app.spec.name}` has no earlier revision that was ready: deploy a fixed one instead"
    )


def _drop_condition(app: App, kind: str) -> None:
    kept = [each for each in app.conditions if each.type != kind]
    del app.conditions[:]
    app.conditions.extend(kept)


def _identity(spec: AppSpec) -> AppSpec:
    bare = AppSpec()
    bare.CopyFrom(spec)
    for each in _LABELS:
        bare.ClearField(each)
    return bare
