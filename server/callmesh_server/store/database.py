"""The SQLite database: opened, brought to the newest schema, loaded and read.

WAL with `synchronous=FULL`: what was committed survives the loss of power.
Alembic is imported only where an older schema has to be migrated; a new
database is made from `schema.metadata` and stamped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from callmesh_server.store import schema
from callmesh_server.store.records import Records
from callmesh_server.store.rows import (
    ExternalRow,
    Loaded,
    MeshPortRow,
    NumberedRun,
    RunFilter,
    SecretRow,
)
from callmesh_server.store.writer import Writer
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import registry_pb2, scheduler_pb2

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


class Database:
    """The store of one server. Made by `open_database`; ended with `close`."""

    def __init__(self, engine: sa.Engine, loaded: Loaded, loop: asyncio.AbstractEventLoop) -> None:
        self.loaded = loaded
        self.records = Records(engine.dialect)
        self.writer = Writer(engine, loop)
        self._engine = engine
        self._reader = ThreadPoolExecutor(1, "callmesh-reader")
        self._loop = loop
        self.writer.start()

    async def close(self) -> None:
        """Commit what is queued and let go of the file."""
        await self.writer.close()
        await asyncio.to_thread(self._reader.shutdown)
        self._engine.dispose()

    async def read(self, query: Callable[[sa.Connection], Result]) -> Result:
        """Run one short query on the reading connection, in a thread."""

        def run() -> Result:
            with self._engine.connect() as connection:
                return query(connection)

        return await self._loop.run_in_executor(self._reader, run)

    async def run(self, name: str) -> scheduler_pb2.Run | None:
        """A run with its values."""
        row = await self.read(lambda c: c.execute(_RUN_BY_NAME, {"name": name}).one_or_none())
        return None if row is None else whole_run(row)

    async def run_by_request(self, request_id: str) -> scheduler_pb2.Run | None:
        """The run that a request made."""
        row = await self.read(
            lambda c: c.execute(_RUN_BY_REQUEST, {"request_id": request_id}).one_or_none()
        )
        return None if row is None else whole_run(row)

    async def cached_run(self, key: str) -> scheduler_pb2.Run | None:
        """The run whose result is kept under a key, with its values."""
        row = await self.read(lambda c: c.execute(_CACHED_RUN, {"key": key}).one_or_none())
        return None if row is None else whole_run(row)

    async def runs(self, wanted: RunFilter, before: int, limit: int) -> list[NumberedRun]:
        """Runs without values, newest first; only those numbered under ``before``, if not 0.

        A run that has not ended matches any phase: memory knows it better.
        """
        table = schema.runs
        query = sa.select(table.c.number, table.c.record).order_by(table.c.number.desc())
        if wanted.scope is not None:
            project, domain = wanted.scope
            query = query.where(table.c.project == project, table.c.domain == domain)
        if wanted.task:
            query = query.where(_is_task(table.c.task, wanted.task))
        if wanted.parent:
            query = query.where(table.c.parent == wanted.parent)
        if wanted.phases:
            query = query.where(sa.or_(table.c.ended == 0, table.c.phase.in_(wanted.phases)))
        if before:
            query = query.where(table.c.number < before)
        rows = await self.read(lambda c: c.execute(query.limit(limit)).all())
        return [NumberedRun(row.number, scheduler_pb2.Run.FromString(row.record)) for row in rows]

    async def tasks(
        self, project: str, domain: str, name: str = "", version: str = ""
    ) -> list[scheduler_pb2.Task]:
        """Versions of a scope's tasks, newest first; empty arguments match all."""
        table = schema.tasks
        query = sa.select(table.c.record).order_by(table.c.number.desc())
        query = query.where(table.c.project == project, table.c.domain == domain)
        if name:
            query = query.where(table.c.name == name)
        if version:
            query = query.where(table.c.version == version)
        rows = await self.read(lambda c: c.execute(query).all())
        return [scheduler_pb2.Task.FromString(row.record) for row in rows]

    async def answered(self, request_id: str, method: str, kind: type[Answer]) -> Answer | None:
        """What a request of the last day was answered, or None."""
        table = schema.requests
        query = sa.select(table.c.method, table.c.answer).where(table.c.request_id == request_id)
        row = await self.read(lambda c: c.execute(query).one_or_none())
        if row is None:
            return None
        if row.method != method:
            raise FailedPreconditionError(
                f"the request id `{request_id}` was used for {row.method}: "
                "must be a new one for every request"
            )
        return kind.FromString(row.answer)

    async def secrets(self, project: str, domain: str) -> list[SecretRow]:
        """A scope's secrets by name, without values."""
        table = schema.secrets
        query = sa.select(
            table.c.project, table.c.domain, table.c.name, table.c.created_at, table.c.updated_at
        )
        query = query.where(table.c.project == project, table.c.domain == domain)
        rows = await self.read(lambda c: c.execute(query.order_by(table.c.name)).all())
        return [SecretRow(*row) for row in rows]

    async def sealed_secrets(self) -> list[tuple[str, str, str, bytes]]:
        """Project, domain, name and sealed value of every secret."""
        table = schema.secrets
        query = sa.select(table.c.project, table.c.domain, table.c.name, table.c.sealed)
        rows = await self.read(lambda c: c.execute(query).all())
        return [(row.project, row.domain, row.name, row.sealed) for row in rows]


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


def _is_task(column: sa.Column[str], name: str) -> sa.ColumnElement[bool]:
    """By full name, or by the function's name behind its last dot."""
    if "." in name:
        return column == name
    return sa.or_(column == name, column.endswith(f".{name}", autoescape=True))


def whole_run(row: Any) -> scheduler_pb2.Run:
    """A run of a row with `record`, `inputs` and `outputs`."""
    run = scheduler_pb2.Run.FromString(row.record)
    run.MergeFromString(row.inputs)
    run.MergeFromString(row.outputs)
    return run


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


def _messages(connection: sa.Connection, query: sa.Select[Any], kind: type[Answer]) -> list[Answer]:
    return [kind.FromString(row.record) for row in connection.execute(query)]


_WHOLE_RUN = sa.select(
    schema.runs.c.name,
    schema.runs.c.request_id,
    schema.runs.c.record,
    schema.runs.c.inputs,
    schema.runs.c.outputs,
)
_RUN_BY_NAME = _WHOLE_RUN.where(schema.runs.c.name == sa.bindparam("name"))
_RUN_BY_REQUEST = _WHOLE_RUN.where(schema.runs.c.request_id == sa.bindparam("request_id"))
_CACHED_RUN = _WHOLE_RUN.where(
    schema.runs.c.name
    == sa.select(schema.cached.c.run)
    .where(schema.cached.c.key == sa.bindparam("key"))
    .scalar_subquery()
)
# Literal, so that the partial index serves it.
_ACTIVE_RUNS = _WHOLE_RUN.where(sa.text("ended = 0")).order_by(schema.runs.c.number)
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
