"""The whole record read page by page, for the collector.

One page is one short query in the reader's thread, so that neither the event
loop nor other readers wait for long.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from callmesh_server.core.collection import RunFact
from callmesh_server.core.times import seconds
from callmesh_server.core.world import TaskKey
from callmesh_server.store import schema
from callmesh_server.store.database import Database
from callmeshpb.v1 import scheduler_pb2

_PAGE = 200
# What is searched at once: the search does not let go of the interpreter's lock.
_SLICE = 1 << 18
_DIGEST = re.compile(rb"[0-9a-f]{64}")


async def run_facts(database: Database) -> list[RunFact]:
    """Every recorded run."""
    table = schema.runs
    query = sa.select(table.c.number, table.c.ended, table.c.record)
    return [each async for page in _pages(database, query, table, _facts) for each in page]


async def kept_results(database: Database) -> list[tuple[str, str]]:
    """The key of every kept result, and its run."""
    query = sa.select(schema.cached.c.key, schema.cached.c.run)
    rows = await database.read(lambda c: c.execute(query).all())
    return [(row.key, row.run) for row in rows]


async def ephemeral_tasks(database: Database) -> dict[TaskKey, float]:
    """The task versions that runs have registered, and when."""
    table = schema.tasks
    query = sa.select(table.c.number, table.c.record).where(table.c.ephemeral)
    return {key: at async for page in _pages(database, query, table, _versions) for key, at in page}


async def named_digests(database: Database) -> set[str]:
    """Whatever looks like a digest in a run, a task or an app.

    References are in the values of users too, in any form, so that all bytes
    are searched; too many are found rather than too few.
    """
    found: set[str] = set()
    runs, tasks = schema.runs, schema.tasks
    columns = (runs.c.record, runs.c.inputs, runs.c.outputs)
    async for page in _pages(database, sa.select(runs.c.number, *columns), runs, _digests):
        found |= page
    query = sa.select(tasks.c.number, tasks.c.record)
    async for page in _pages(database, query, tasks, _digests):
        found |= page
    apps = sa.select(schema.apps.c.record)
    return found | await database.read(lambda c: _digests(c.execute(apps).all()))


def digests_in(data: bytes) -> Iterator[str]:
    """What looks like a digest."""
    for start in range(0, len(data), _SLICE):
        for match in _DIGEST.finditer(data, start, min(len(data), start + _SLICE + 63)):
            yield match.group().decode()


async def _pages(
    database: Database, query: sa.Select[Any], table: sa.Table, of: Any
) -> AsyncIterator[Any]:
    """What ``of`` makes of the rows of each page, in the reader's thread."""
    after = 0
    while True:
        page = query.where(table.c.number > after).order_by(table.c.number).limit(_PAGE)

        def read(connection: sa.Connection, page: sa.Select[Any] = page) -> tuple[int, Any]:
            rows = connection.execute(page).all()
            return (rows[-1].number if len(rows) == _PAGE else 0), of(rows)

        after, made = await database.read(read)
        yield made
        if not after:
            return


def _facts(rows: Iterable[Any]) -> list[RunFact]:
    facts = []
    for row in rows:
        run = scheduler_pb2.Run.FromString(row.record)
        at = run.ended_at if row.ended and run.HasField("ended_at") else run.created_at
        task = TaskKey(run.project, run.domain, run.task, run.task_version)
        facts.append(RunFact(row.number, run.name, run.parent, task, bool(row.ended), seconds(at)))
    return facts


def _versions(rows: Iterable[Any]) -> list[tuple[TaskKey, float]]:
    found: list[tuple[TaskKey, float]] = []
    for row in rows:
        task = scheduler_pb2.Task.FromString(row.record)
        environment = task.environment
        key = TaskKey(environment.project, environment.domain, task.spec.name, environment.version)
        found.append((key, seconds(task.created_at)))
    return found


def _digests(rows: Iterable[Any]) -> set[str]:
    return {
        digest
        for row in rows
        for value in row
        if isinstance(value, bytes)
        for digest in digests_in(value)
    }
