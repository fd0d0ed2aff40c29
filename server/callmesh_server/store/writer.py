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
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    ExhaustedError,
    UnavailableError,
)

Done = Callable[[CallmeshError | None], None]
_MAX_GROUP = 512
# On a full disk: how often the commit is tried again, seconds, and what counts as room.
_TRY_AGAIN = 0.5
_ROOM = 1 << 20

log = logging.getLogger(__name__)


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
    refusable: bool


class _Full(Exception):
    """The disk has no room for a commit; nothing of it was written."""


class _Apart(Exception):
    """One of several writes breaks a constraint: each has to be committed alone."""


class DuplicateError(AlreadyExistsError):
    """A unique column's value was there already."""


class Writer:
    """Owns the writing connection. Start with `start`, end with `close`.

    On a full disk writes wait for room, in their order, and are tried again;
    refusable ones, and whoever asks meanwhile, get `ExhaustedError`. When a
    commit fails otherwise, memory and disk may differ from then on: every
    caller gets `UnavailableError`, now and later, and `broken` holds the
    reason; the server ends, and starts again from the disk.
    """

    def __init__(self, engine: sa.Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="callmesh-writer", daemon=True)
        self._closed = False
        self._reason = ""
        self._folder = Path(str(engine.url.database)).parent
        self._is_full = False
        self._impatient: set[asyncio.Future[None]] = set()
        self.broken: asyncio.Future[str] = loop.create_future()

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def check_room(self) -> None:
        """Raise `ExhaustedError` while the disk is full."""
        if self._is_full:
            raise self._no_room()

    async def or_full(self, committed: asyncio.Future[None]) -> None:
        """Wait for a commit; `ExhaustedError` when it has to wait for room."""
        self._impatient.add(committed)
        try:
            await committed
        finally:
            self._impatient.discard(committed)

    def write(self, changes: Sequence[Change], done: Done, *, refusable: bool = False) -> None:
        """Queue changes; ``done`` is called on the loop with None or the error.

        ``refusable``: on a full disk they are given up rather than kept waiting.
        """
        if self._closed:
            self._loop.call_soon(done, UnavailableError("the server is shutting down"))
        else:
            self._queue.put(_Write(changes, done, refusable))

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
            kept: list[_Write] = []
            full = False
            while True:
                group = self._next_group(_TRY_AGAIN if full else None)
                writes = [*kept, *(write for write in group if write is not None)]
                found = self._committed_or_kept(cursor, writes)
                kept = found or []
                full = found is not None or (full and not writes and not self._has_room())
                if full != self._is_full:
                    # First what is asked, then who waits: nobody falls between them.
                    self._is_full = full
                    self._loop.call_soon_threadsafe(partial(self._now_full, full=full))
                if group and group[-1] is None:
                    return
        finally:
            connection.close()

    def _committed_or_kept(self, cursor: Any, writes: Sequence[_Write]) -> list[_Write] | None:
        """Commit, and tell: None; on a full disk the writes that go on waiting."""
        try:
            outcomes = self._commit(cursor, writes)
        except _Full:
            refused = [write for write in writes if write.refusable]
            self._tell((write.done, self._no_room()) for write in refused)
            return [write for write in writes if not write.refusable]
        except _Apart:
            # What is on disk must not wait with what finds no room.
            found = [self._committed_or_kept(cursor, [each]) for each in writes]
            full = [kept for kept in found if kept is not None]
            return [each for kept in full for each in kept] if full else None
        self._tell(zip((write.done for write in writes), outcomes, strict=True))
        return None

    def _next_group(self, patience: float | None) -> list[_Write | None]:
        try:
            group = [self._queue.get(timeout=patience)]
        except queue.Empty:
            return []
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
            if self._is_for_room(problem):
                with contextlib.suppress(driver.Error):
                    cursor.execute("ROLLBACK")
                raise _Full from None
            self._reason = f"{type(problem).__name__}: {problem}"
            self._loop.call_soon_threadsafe(self._break)
        return [_broken(self._reason) for _ in writes]

    def _commit_together(
        self, cursor: Any, writes: Sequence[_Write], driver: Any
    ) -> list[CallmeshError | None]:
        """One transaction. Raises `_Apart` where a constraint breaks that of several writes.

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
            raise _Apart from None
        if not is_lone:
            cursor.execute("COMMIT")
        return outcomes

    def _is_for_room(self, problem: Exception) -> bool:
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        return code == sqlite3.SQLITE_FULL or (
            code == sqlite3.SQLITE_IOERR and not self._has_room()
        )

    def _has_room(self) -> bool:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize >= _ROOM

    def _no_room(self) -> ExhaustedError:
        return ExhaustedError(
            f"the disk that holds `{self._folder}` is full: make room and try again; "
            "the mesh goes on by itself"
        )

    def _now_full(self, *, full: bool) -> None:
        if not full:
            log.warning("there is room on the disk again: the store is written")
            return
        log.error("%s", self._no_room())
        for each in self._impatient:
            if not each.done():
                each.set_exception(self._no_room())

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
