"""The database on real files: schema, group commit, restarts."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from callmesh_server.store import schema
from callmesh_server.store.database import Database
from callmesh_server.store.opening import migrate, open_database
from callmesh_server.store.rows import RunFilter
from callmesh_server.store.writer import DuplicateError
from callmesh_wire.errors import CallmeshError, FailedPreconditionError, UnavailableError
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

NO_INPUTS = pb.Run()


async def open_at(path: Path) -> Database:
    return await asyncio.to_thread(open_database, path, asyncio.get_running_loop())


def run(name: str, phase: int = pb.RUN_PHASE_QUEUED, **more: object) -> pb.Run:
    return pb.Run(
        name=name, project="default", domain="development", task="jobs.work", phase=phase, **more
    )


def shape(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
        columns = [
            (table, *map(str, column[1:]))
            for table in schema.metadata.tables
            for column in connection.execute(f"PRAGMA table_info({table})")
        ]
    connection.close()
    return sorted(rows) + sorted(columns)


async def test_migrations_lead_to_the_schema_of_the_code(tmp_path: Path) -> None:
    await (await open_at(tmp_path / "made.db")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    assert shape(tmp_path / "made.db") == shape(tmp_path / "migrated.db")


async def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mesh.db"
    await (await open_at(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(FailedPreconditionError, match=r"has schema 9999, newer than"):
        await open_at(path)


async def test_files_are_private_and_writes_are_synchronous(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "server" / "mesh.db")
    mode = (tmp_path / "server" / "mesh.db").stat().st_mode & 0o777
    assert mode == 0o600
    query = "PRAGMA synchronous"
    assert await database.read(lambda c: c.exec_driver_sql(query).scalar()) == 2
    query = "PRAGMA journal_mode"
    assert await database.read(lambda c: c.exec_driver_sql(query).scalar()) == "wal"
    await database.close()


async def test_the_epoch_grows_with_every_start(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        database = await open_at(tmp_path / "mesh.db")
        epochs.append(database.loaded.epoch)
        await database.close()
    assert epochs == [1, 2, 3]


async def test_one_callers_conflict_is_nobody_elses(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    records = database.records
    await database.writer.commit([records.insert_run(run("a"), NO_INPUTS, "q1")])
    told: list[tuple[str, CallmeshError | None]] = []

    def write(name: str, request_id: str) -> None:
        change = records.insert_run(run(name), NO_INPUTS, request_id)
        database.writer.write([change], lambda error: told.append((name, error)))

    write("b", "q2")
    write("a", "q3")
    write("c", "q1")
    write("d", "")
    write("e", "")
    await database.writer.commit([])
    assert [name for name, _ in told] == ["b", "a", "c", "d", "e"]
    assert [type(error) for _, error in told] == [
        type(None),
        DuplicateError,
        DuplicateError,
        type(None),
        type(None),
    ]
    assert {each.name for each in (await reopened(database, tmp_path)).runs} == set("abde")


async def test_a_broken_constraint_undoes_its_own_write_alone(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    records = database.records
    nameless = records.fact("x", 1)
    broken = type(nameless)(nameless.statement, {"name": None, "number": None})
    good = records.put_port(20_000, "web", 0.0)
    results = await asyncio.gather(
        database.writer.commit([good]),
        database.writer.commit([records.put_port(20_001, "other", 0.0), broken]),
        database.writer.commit([records.put_port(20_002, "third", 0.0)]),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [type(None), DuplicateError, type(None)]
    assert [row.port for row in (await reopened(database, tmp_path)).ports] == [20_000, 20_002]


async def test_a_store_that_cannot_be_written_says_so_to_everybody(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    await database.writer.commit([])
    await database.read(lambda c: c.exec_driver_sql("DROP TABLE facts").rowcount)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="cannot be written"):
            await database.writer.commit([database.records.fact("x", 1)])
    assert "facts" in await database.writer.broken
    await database.close()


async def test_a_run_is_read_back_whole_and_listed_without_values(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    records = database.records
    value = common_pb2.Value(json=b"1" * 20_000)
    inputs = pb.Run(inputs={"x": value})
    await database.writer.commit([records.insert_run(run("a"), inputs, "q")])
    ended = run("a", pb.RUN_PHASE_SUCCEEDED, outputs=[value])
    await database.writer.commit([records.update_run(ended)])
    for found in (await database.run("a"), await database.run_by_request("q")):
        assert found is not None
        assert (found.inputs["x"], found.outputs[0]) == (value, value)
    (listed,) = await database.runs(RunFilter(), before=0, limit=10)
    assert listed.run == run("a", pb.RUN_PHASE_SUCCEEDED)
    loaded = await reopened(database, tmp_path)
    assert loaded.runs == []


async def test_unfinished_runs_come_back_with_their_tasks(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    records = database.records
    for version in ("v1", "v2"):
        task = pb.Task(
            environment=pb.TaskEnvironmentSpec(
                project="default", domain="development", name="jobs", version=version
            ),
            spec=pb.TaskSpec(name="jobs.work"),
        )
        await database.writer.commit(records.put_task(task))
    first = run("a", task_version="v1")
    await database.writer.commit([records.insert_run(first, NO_INPUTS, "q")])
    loaded = await reopened(database, tmp_path)
    assert [each.name for each in loaded.runs] == ["a"]
    assert loaded.request_ids == {"a": "q"}
    assert [each.environment.version for each in loaded.newest] == ["v2"]
    assert {each.environment.version for each in loaded.tasks} == {"v1", "v2"}


async def test_lists_are_filtered_by_scope_task_parent_and_phase(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    records = database.records
    for each in (
        run("a", pb.RUN_PHASE_SUCCEEDED),
        run("b", pb.RUN_PHASE_FAILED, parent="a"),
        run("c", parent="a"),
    ):
        await database.writer.commit([records.insert_run(each, NO_INPUTS, "")])

    async def names(wanted: RunFilter, before: int = 0) -> list[str]:
        return [each.run.name for each in await database.runs(wanted, before, 10)]

    assert await names(RunFilter()) == ["c", "b", "a"]
    assert await names(RunFilter(), before=3) == ["b", "a"]
    assert await names(RunFilter(scope=("other", "development"))) == []
    assert await names(RunFilter(parent="a")) == ["c", "b"]
    assert await names(RunFilter(task="jobs.rest")) == []
    # One that has not ended may have any phase by now: memory knows.
    assert await names(RunFilter(phases=frozenset({pb.RUN_PHASE_FAILED}))) == ["c", "b"]
    await database.close()


async def test_answers_are_remembered_by_method_and_expire(tmp_path: Path) -> None:
    database = await open_at(tmp_path / "mesh.db")
    answer = pb.GetAppResponse(app=pb.App(revision=3))
    records = database.records
    await database.writer.commit([records.request("q", "Deploy", answer, 100.0)])
    assert await database.answered("q", "Deploy", pb.GetAppResponse) == answer
    assert await database.answered("other", "Deploy", pb.GetAppResponse) is None
    with pytest.raises(FailedPreconditionError, match="was used for Deploy"):
        await database.answered("q", "DeleteApp", pb.GetAppResponse)
    await database.writer.commit([records.expire_requests(101.0)])
    assert await database.answered("q", "Deploy", pb.GetAppResponse) is None
    await database.close()


async def reopened(database: Database, folder: Path) -> object:
    """What another life finds."""
    await database.close()
    again = await open_at(folder / "mesh.db")
    await again.close()
    return again.loaded
