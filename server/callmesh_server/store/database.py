"""The SQLite database as the server reads it: short queries in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from callmesh_server.store import schema
from callmesh_server.store.records import Records
from callmesh_server.store.rows import Loaded, NumberedRun, RunFilter, SecretRow
from callmesh_server.store.writer import Writer
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import scheduler_pb2

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


class Database:
    """The store of one server. Made by `opening.open_database`; ended with `close`."""

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


WHOLE_RUN = sa.select(
    schema.runs.c.name,
    schema.runs.c.request_id,
    schema.runs.c.record,
    schema.runs.c.inputs,
    schema.runs.c.outputs,
)
_RUN_BY_NAME = WHOLE_RUN.where(schema.runs.c.name == sa.bindparam("name"))
_RUN_BY_REQUEST = WHOLE_RUN.where(schema.runs.c.request_id == sa.bindparam("request_id"))
_CACHED_RUN = WHOLE_RUN.where(
    schema.runs.c.name
    == sa.select(schema.cached.c.run)
    .where(schema.cached.c.key == sa.bindparam("key"))
    .scalar_subquery()
)
