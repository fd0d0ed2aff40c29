"""The one writer: a thread that commits what callers hand it, in their order.

Whatever waits when the thread is free is committed together (group commit). One
caller's broken constraint is nobody else's problem: the group is then committed
again one by one. Callers are told on the event loop, after the commit, in their
order.

Statements are SQLAlchemy Core, compiled once, and executed on the driver's own
connection: SQLAlchemy's bookkeeping per execution costs more than the commit.
They are few, because the driver lets go of the interpreter's lock at each, and
a busy event loop gives it back late: hence no savepoint for every caller.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from callmesh_wire.errors import AlreadyExistsError, CallmeshError, UnavailableError

Done = Callable[[CallmeshError | None], None]
_MAX_GROUP = 512


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A Core statement as the driver takes it."""

    sql: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, statement: sa.sql.ClauseElement, dialect: sa.Dialect) -> Statement:
        """Compile for a driver with positional parameters."""
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        return cls(compiled.string, tuple(compiled.positiontup or ()))


@dataclass(frozen=True, slots=True)
class Change:
    """One statement with its values by bind name.

    ``once``: an `INSERT … ON CONFLICT DO NOTHING`, the first of its write, that
    refuses the whole write where the row exists.
    """

    statement: Statement
    values: Mapping[str, Any]
    once: bool = False


@dataclass(frozen=True, slots=True)
class _Write:
    changes: Sequence[Change]
    done: Done


class DuplicateError(AlreadyExistsError):
    """A unique column's value was there already."""


class Writer:
    """Owns the writing connection. Start with `start`, end with `close`.

    When a commit itself fails (a full disk, say), memory and disk may differ
    from then on: every caller gets `UnavailableError`, now and later, and
    `broken` holds the reason; the server ends, and starts again from the disk.
    """

    def __init__(self, engine: sa.Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="callmesh-writer", daemon=True)
        self._closed = False
        self._reason = ""
        self.broken: asyncio.Future[str] = loop.create_future()

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def write(self, changes: Sequence[Change], done: Done) -> None:
        """Queue changes; ``done`` is called on the loop with None or the error."""
        if self._closed:
            self._loop.call_soon(done, UnavailableError("the server is shutting down"))
        else:
            self._queue.put(_Write(changes, done))

    async def commit(self, changes: Sequence[Change]) -> None:
        """Return once the changes are on disk. Raises what `done` would get."""
        result: asyncio.Future[None] = self._loop.create_future()

        def done(error: CallmeshError | None) -> None:
            if result.done():
                return
            if error is None:
                result.set_result(None)
            else:
                result.set_exception(error)

        self.write(changes, done)
        await result

    async def close(self) -> None:
        """Commit what is queued and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
        if not self.broken.done():
            self.broken.cancel()

    def _run(self) -> None:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            while group := self._next_group():
                writes = [write for write in group if write is not None]
                outcomes = self._commit(cursor, writes)
                self._tell(zip((w.done for w in writes), outcomes, strict=True))
                if len(writes) < len(group):
                    return
        finally:
            connection.close()

    def _next_group(self) -> list[_Write | None]:
        group = [self._queue.get()]
        while len(group) < _MAX_GROUP and group[-1] is not None:
            try:
                group.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return group

    def _commit(self, cursor: Any, writes: Sequence[_Write]) -> list[CallmeshError | None]:
        if not writes:
            return []
        driver = self._engine.dialect.loaded_dbapi
        try:
            if not self._reason:
                return self._commit_together(cursor, writes, driver)
        except driver.Error as problem:
            self._reason = f"{type(problem).__name__}: {problem}"
            self._loop.call_soon_threadsafe(self._break)
        return [_broken(self._reason) for _ in writes]

    def _commit_together(
        self, cursor: Any, writes: Sequence[_Write], driver: Any
    ) -> list[CallmeshError | None]:
        """One transaction; where a constraint breaks it, one for each write.

        A lone statement is a transaction by itself.
        """
        is_lone = len(writes) == 1 and len(writes[0].changes) == 1
        try:
            if not is_lone:
                cursor.execute("BEGIN IMMEDIATE")
            outcomes = [_execute(cursor, write.changes) for write in writes]
        except driver.IntegrityError as problem:
            if not is_lone:
                cursor.execute("ROLLBACK")
            if len(writes) == 1:
                return [DuplicateError(f"it exists already ({problem})")]
            return [self._commit_together(cursor, [each], driver)[0] for each in writes]
        if not is_lone:
            cursor.execute("COMMIT")
        return outcomes

    def _break(self) -> None:
        if not self.broken.done():
            self.broken.set_result(self._reason)

    def _tell(self, outcomes: Iterable[tuple[Done, CallmeshError | None]]) -> None:
        told = list(outcomes)

        def tell() -> None:
            for done, error in told:
                self._loop.call_soon(done, error)

        if self._loop.is_closed() or not told:
            return
        if len(told) == 1:
            done, error = told[0]
            self._loop.call_soon_threadsafe(done, error)
        else:
            self._loop.call_soon_threadsafe(tell)


def _execute(cursor: Any, changes: Sequence[Change]) -> CallmeshError | None:
    for change in changes:
        values = change.values
        cursor.execute(change.statement.sql, tuple(values[n] for n in change.statement.names))
        if change.once and not cursor.rowcount:
            return DuplicateError("it exists already")
    return None


def _broken(reason: str) -> CallmeshError:
    return UnavailableError(
        f"the store cannot be written ({reason}): free the disk or repair its folder; "
        "the server starts again by itself"
    )
