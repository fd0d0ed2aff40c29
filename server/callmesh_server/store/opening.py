"""The database's file: opened, brought to the newest schema, and loaded.

WAL with `synchronous=FULL`: what was committed survives the loss of power.
Alembic is imported only where an older schema has to be migrated; a new
database is made from `schema.metadata` and stamped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from callmesh_server.store import schema
from callmesh_server.store.database import WHOLE_RUN, Database, whole_run
from callmesh_server.store.rows import ExternalRow, Loaded, MeshPortRow
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import registry_pb2, scheduler_pb2

Kind = TypeVar("Kind", bound=Message)


def open_database(path: Path, loop: asyncio.AbstractEventLoop) -> Database:
    """Open or make the database (mode 0600), and begin a new epoch.

    Blocking: call it in a thread. Raises `FailedPreconditionError` when the
    schema is newer than this code, or the file is damaged or not to be written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = _engine(path)
    try:
        _bring_to_head(engine, path)
        loaded = _load(engine)
    except sa.exc.DatabaseError as problem:
        raise FailedPreconditionError(
            f"the store `{path}` cannot be used: {problem.orig}; make it this user's to write, "
            "put back a copy of it, or begin anew with another state folder"
        ) from None
    return Database(engine, loaded, loop)


def _engine(path: Path) -> sa.Engine:
    # Every thread has a connection of its own, and keeps it.
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.pool.SingletonThreadPool, pool_reset_on_return=None
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # We write BEGIN ourselves: pysqlite's own would come too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA busy_timeout = 10000")
        cursor.close()

    return engine


def _bring_to_head(engine: sa.Engine, path: Path) -> None:
    with engine.connect() as connection:
        if _version(connection) == schema.HEAD:
            return
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        version = _version(connection)
        if version is None:
            schema.metadata.create_all(connection)
            connection.exec_driver_sql(
                "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
            )
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (schema.HEAD,))
        elif version > schema.HEAD:
            connection.exec_driver_sql("ROLLBACK")
            raise FailedPreconditionError(
                f"the store `{path}` has schema {version}, newer than {schema.HEAD}, which this "
                "version of callmesh knows: install the version that wrote it, or a newer one"
            )
        elif version < schema.HEAD:
            migrate(connection)
        connection.exec_driver_sql("COMMIT")


def _version(connection: sa.Connection) -> str | None:
    table = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    ).scalar()
    if not table:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def migrate(connection: sa.Connection) -> None:
    """Bring an older schema to the newest, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "callmesh_server.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _load(engine: sa.Engine) -> Loaded:
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        epoch = _next_epoch(connection)
        connection.exec_driver_sql("COMMIT")
        active = connection.execute(_ACTIVE_RUNS).all()
        runs = [whole_run(row) for row in active]
        newest = _messages(connection, _NEWEST_TASKS, scheduler_pb2.Task)
        return Loaded(
            epoch=epoch,
            apps=_messages(connection, sa.select(schema.apps.c.record), scheduler_pb2.App),
            instances=_messages(
                connection, sa.select(schema.instances.c.record), scheduler_pb2.Instance
            ),
            nodes=_messages(connection, sa.select(schema.nodes.c.record), scheduler_pb2.Node),
            ports=[MeshPortRow(*row) for row in connection.execute(_PORTS)],
            externals=[
                ExternalRow(registry_pb2.RegisterRequest.FromString(row.record), row.lease)
                for row in connection.execute(_EXTERNALS)
            ],
            newest=newest,
            tasks=newest + _tasks_of(connection, runs),
            runs=runs,
            request_ids={row.name: row.request_id for row in active if row.request_id},
        )


def _next_epoch(connection: sa.Connection) -> int:
    facts = schema.facts
    epoch = connection.execute(sa.select(facts.c.number).where(facts.c.name == "epoch")).scalar()
    if epoch is None:
        connection.execute(facts.insert().values(name="epoch", number=1))
        return 1
    connection.execute(facts.update().where(facts.c.name == "epoch").values(number=epoch + 1))
    return int(epoch) + 1


def _tasks_of(
    connection: sa.Connection, runs: Sequence[scheduler_pb2.Run]
) -> list[scheduler_pb2.Task]:
    table = schema.tasks
    wanted = {(run.project, run.domain, run.task, run.task_version) for run in runs}
    query = sa.select(table.c.record).where(
        table.c.project == sa.bindparam("p"),
        table.c.domain == sa.bindparam("d"),
        table.c.name == sa.bindparam("n"),
        table.c.version == sa.bindparam("v"),
    )
    found = (
        connection.execute(query, dict(zip("pdnv", key, strict=True))).scalar() for key in wanted
    )
    return [scheduler_pb2.Task.FromString(record) for record in found if record is not None]


def _messages(connection: sa.Connection, query: sa.Select[Any], kind: type[Kind]) -> list[Kind]:
    return [kind.FromString(row.record) for row in connection.execute(query)]


# Literal, so that the partial index serves it.
_ACTIVE_RUNS = WHOLE_RUN.where(sa.text("ended = 0")).order_by(schema.runs.c.number)
_NEWEST_TASKS = sa.select(schema.tasks.c.record).where(
    schema.tasks.c.number.in_(
        sa.select(sa.func.max(schema.tasks.c.number))
        .where(sa.not_(schema.tasks.c.ephemeral))
        .group_by(schema.tasks.c.project, schema.tasks.c.domain, schema.tasks.c.name)
    )
)
_PORTS = sa.select(
    schema.mesh_ports.c.port, schema.mesh_ports.c.mesh_name, schema.mesh_ports.c.released_at
)
_EXTERNALS = sa.select(schema.external_instances.c.record, schema.external_instances.c.lease)
