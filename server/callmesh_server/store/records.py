"""Messages as rows, and the statements that write them.

`Records` makes `Change`s for the writer; what reads is in `database`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message

from callmesh_server.core.world import TaskKey
from callmesh_server.store import schema
from callmesh_server.store.writer import Change, Statement
from callmeshpb.v1 import registry_pb2, scheduler_pb2

ENDED_PHASES = frozenset(
    {
        scheduler_pb2.RUN_PHASE_SUCCEEDED,
        scheduler_pb2.RUN_PHASE_FAILED,
        scheduler_pb2.RUN_PHASE_ABORTED,
        scheduler_pb2.RUN_PHASE_TIMED_OUT,
        scheduler_pb2.RUN_PHASE_RECOVERED,
    }
)


class Records:
    """Every write that there is, as a `Change`."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._insert = _insert_of(dialect)
        self._dialect = dialect
        self._put_fact = self._upsert(schema.facts)
        self._put_app = self._upsert(schema.apps)
        self._delete_app = self._delete(schema.apps, "project", "domain", "name")
        self._put_instance = self._upsert(schema.instances)
        self._delete_instance = self._delete(schema.instances, "id")
        self._put_node = self._upsert(schema.nodes)
        self._delete_node = self._delete(schema.nodes, "name")
        self._put_port = self._upsert(schema.mesh_ports)
        self._delete_port = self._delete(schema.mesh_ports, "port")
        self._put_external = self._upsert(schema.external_instances)
        self._delete_external = self._delete(
            schema.external_instances, "project", "domain", "service", "instance_id"
        )
        self._insert_task = self._compile(
            schema.tasks.insert().values(
                {c.name: sa.bindparam(c.name) for c in schema.tasks.c if c.name != "number"}
            )
        )
        self._delete_task = self._delete(schema.tasks, "project", "domain", "name", "version")
        self._put_secret = self._upsert(schema.secrets, keep=("created_at",))
        self._delete_secret = self._delete(schema.secrets, "project", "domain", "name")
        self._insert_run = self._compile(
            self._insert(schema.runs)
            .values({c.name: sa.bindparam(c.name) for c in schema.runs.c if c.name != "number"})
            .on_conflict_do_nothing()
        )
        self._update_run = self._run_update("phase", "ended", "record")
        self._end_run = self._run_update("phase", "ended", "record", "outputs")
        self._put_cached = self._upsert(schema.cached)
        self._delete_cached = self._delete(schema.cached, "key", "run")
        self._delete_ended_run = self._delete(schema.runs, "name", "ended")
        self._delete_ephemeral = self._delete(schema.tasks, *TaskKey._fields, "ephemeral")
        self._put_request = self._upsert(schema.requests)
        self._expire_requests = self._compile(
            schema.requests.delete().where(schema.requests.c.created_at < sa.bindparam("before"))
        )

    def fact(self, name: str, number: int) -> Change:
        """A number of the server's own."""
        return Change(self._put_fact, {"name": name, "number": number})

    def put_app(self, app: scheduler_pb2.App) -> Change:
        """An app, new or changed. Its instances are rows of their own."""
        spec = app.spec
        return Change(
            self._put_app,
            {
                "project": spec.project,
                "domain": spec.domain,
                "name": spec.name,
                "record": app.SerializeToString(),
            },
        )

    def delete_app(self, project: str, domain: str, name: str) -> Change:
        """An app that is gone."""
        return Change(self._delete_app, {"project": project, "domain": domain, "name": name})

    def put_instance(self, instance: scheduler_pb2.Instance) -> Change:
        """An instance, new or changed."""
        return Change(
            self._put_instance,
            {
                "id": instance.id,
                "project": instance.project,
                "domain": instance.domain,
                "app": instance.app,
                "node": instance.node,
                "record": instance.SerializeToString(),
            },
        )

    def delete_instance(self, instance_id: str) -> Change:
        """An instance that is gone."""
        return Change(self._delete_instance, {"id": instance_id})

    def put_node(self, node: scheduler_pb2.Node) -> Change:
        """A node that has joined."""
        return Change(self._put_node, {"name": node.name, "record": node.SerializeToString()})

    def delete_node(self, name: str) -> Change:
        """A node that does not come back."""
        return Change(self._delete_node, {"name": name})

    def put_port(self, port: int, mesh_name: str, released_at: float) -> Change:
        """A mesh port in use (``released_at`` 0) or its tombstone."""
        return Change(
            self._put_port, {"port": port, "mesh_name": mesh_name, "released_at": released_at}
        )

    def delete_port(self, port: int) -> Change:
        """A tombstone whose port was given to another service."""
        return Change(self._delete_port, {"port": port})

    def put_external(
        self, project: str, domain: str, service: str, lease: float, record: Message
    ) -> Change:
        """A registered instance: ``record`` is its `RegisterRequest`."""
        assert isinstance(record, registry_pb2.RegisterRequest)
        return Change(
            self._put_external,
            {
                "project": project,
                "domain": domain,
                "service": service,
                "instance_id": record.instance_id,
                "lease": lease,
                "record": record.SerializeToString(),
            },
        )

    def delete_external(self, project: str, domain: str, service: str, instance_id: str) -> Change:
        """A registered instance that is gone."""
        return Change(
            self._delete_external,
            {
                "project": project,
                "domain": domain,
                "service": service,
                "instance_id": instance_id,
            },
        )

    def put_task(self, task: scheduler_pb2.Task) -> list[Change]:
        """A task in one version, which becomes the newest."""
        environment = task.environment
        key = {
            "project": environment.project,
            "domain": environment.domain,
            "name": task.spec.name,
            "version": environment.version,
        }
        row = {**key, "ephemeral": task.ephemeral, "record": task.SerializeToString()}
        return [Change(self._delete_task, key), Change(self._insert_task, row)]

    def insert_run(
        self, run: scheduler_pb2.Run, inputs: scheduler_pb2.Run, request_id: str
    ) -> Change:
        """A new run. ``inputs`` holds those alone; they are never written again."""
        return Change(
            self._insert_run,
            {
                "name": run.name,
                "request_id": request_id or None,
                "project": run.project,
                "domain": run.domain,
                "task": run.task,
                "phase": run.phase,
                "ended": int(run.phase in ENDED_PHASES),
                "parent": run.parent,
                "record": run_record(run),
                "inputs": inputs.SerializeToString(),
                "outputs": outputs_record(run),
            },
            once=True,
        )

    def update_run(self, run: scheduler_pb2.Run) -> Change:
        """A run's new state; its outputs are written once it has ended."""
        ended = run.phase in ENDED_PHASES
        values = {
            "run": run.name,
            "phase": run.phase,
            "ended": int(ended),
            "record": run_record(run),
        }
        if ended:
            return Change(self._end_run, {**values, "outputs": outputs_record(run)})
        return Change(self._update_run, values)

    def put_cached(self, run: scheduler_pb2.Run) -> Change:
        """A run's result is the one that is kept under its key."""
        return Change(self._put_cached, {"key": run.cache_key, "run": run.name})

    def delete_cached(self, key: str, run: str) -> Change:
        """A result is kept no longer, unless another run's has replaced it."""
        return Change(self._delete_cached, {"key": key, "run": run})

    def delete_ended_run(self, name: str) -> Change:
        """A run is kept no longer; one that has not ended stays."""
        return Change(self._delete_ended_run, {"name": name, "ended": 1})

    def delete_ephemeral(self, key: TaskKey) -> Change:
        """A version that a run registered is kept no longer; a deployed one stays."""
        return Change(self._delete_ephemeral, {**key._asdict(), "ephemeral": True})

    def request(self, request_id: str, method: str, answer: Message, now: float) -> Change:
        """What a mutation was answered."""
        return Change(
            self._put_request,
            {
                "request_id": request_id,
                "method": method,
                "created_at": now,
                "answer": answer.SerializeToString(),
            },
        )

    def expire_requests(self, before: float) -> Change:
        """Forget answers from before that time."""
        return Change(self._expire_requests, {"before": before})

    def put_secret(self, project: str, domain: str, name: str, sealed: bytes, now: float) -> Change:
        """A secret's sealed value."""
        return Change(
            self._put_secret,
            {
                "project": project,
                "domain": domain,
                "name": name,
                "created_at": now,
                "updated_at": now,
                "sealed": sealed,
            },
        )

    def delete_secret(self, project: str, domain: str, name: str) -> Change:
        """A secret that is gone."""
        return Change(self._delete_secret, {"project": project, "domain": domain, "name": name})

    def _compile(self, statement: sa.sql.ClauseElement) -> Statement:
        return Statement.of(statement, self._dialect)

    def _upsert(self, table: sa.Table, keep: Iterable[str] = ()) -> Statement:
        keys = [column.name for column in table.primary_key]
        insert = self._insert(table)
        changed = {
            column.name: insert.excluded[column.name]
            for column in table.c
            if column.name not in keys and column.name not in keep
        }
        return self._compile(insert.on_conflict_do_update(index_elements=keys, set_=changed))

    def _delete(self, table: sa.Table, *keys: str) -> Statement:
        return self._compile(
            table.delete().where(*(table.c[key] == sa.bindparam(key) for key in keys))
        )

    def _run_update(self, *columns: str) -> Statement:
        return self._compile(
            schema.runs.update()
            .where(schema.runs.c.name == sa.bindparam("run"))
            .values({column: sa.bindparam(column) for column in columns})
        )


def _insert_of(dialect: sa.Dialect) -> Callable[[sa.Table], Any]:
    """The dialect's own `insert`, which knows ON CONFLICT. Imports that dialect alone."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert


def run_record(run: scheduler_pb2.Run) -> bytes:
    """A run without its values."""
    if not run.inputs and not run.outputs:
        return bytes(run.SerializeToString())
    bare = scheduler_pb2.Run()
    bare.CopyFrom(run)
    bare.ClearField("inputs")
    bare.ClearField("outputs")
    return bytes(bare.SerializeToString())


def outputs_record(run: scheduler_pb2.Run) -> bytes:
    """A run's outputs alone, as a `Run`."""
    if not run.outputs:
        return b""
    return bytes(scheduler_pb2.Run(outputs=run.outputs).SerializeToString())
