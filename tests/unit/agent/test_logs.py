"""Log files, read from the end and followed."""

from __future__ import annotations

import asyncio

import pytest

from callmesh_agent import logs
from callmesh_agent.logs import Logs
from callmeshpb.v1 import node_pb2


class Reader:
    """Takes chunks, and lets a test wait for lines."""

    def __init__(self):
        self.lines = []
        self.end = None
        self._changed = asyncio.Condition()

    async def send(self, chunk):
        async with self._changed:
            self.lines += chunk.lines
            if chunk.end:
                self.end = chunk
            self._changed.notify_all()
        return True

    async def until(self, what):
        async with asyncio.timeout(3), self._changed:
            await self._changed.wait_for(what)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "worker").mkdir()
    return tmp_path


def request(**fields):
    return node_pb2.LogRequest(stream_id="s", **fields)


async def read(folder, asked):
    reader = Reader()
    async with asyncio.TaskGroup() as group:
        Logs(folder).open(group, asked, reader.send)
    assert reader.end is not None
    return reader


async def test_the_last_lines_are_read(folder):
    (folder / "app" / "a.log").write_text("".join(f"line {n}\n" for n in range(50_000)))
    reader = await read(folder, request(instance_id="a", tail_lines=3))
    assert reader.lines == ["line 49997", "line 49998", "line 49999"]


async def test_a_file_without_a_last_newline_is_read_whole(folder):
    (folder / "app" / "a.log").write_text("one\ntwo")
    assert (await read(folder, request(instance_id="a"))).lines == ["one", "two"]


async def test_no_file_is_no_lines(folder):
    reader = await read(folder, request(instance_id="nobody"))
    assert (reader.lines, reader.end.error) == ([], "")


async def test_an_id_is_no_path(folder):
    (folder / "secret.log").write_text("secret\n")
    assert (await read(folder, request(instance_id="../secret"))).lines == []


async def test_an_attempt_is_its_part_of_the_workers_file(folder):
    (folder / "worker" / "w.log").write_text("before\nmine 1\nmine 2\nafter\n")
    part = node_pb2.AttemptLog(worker="w", start=7, end=21)
    assert (await read(folder, request(attempt=part))).lines == ["mine 1", "mine 2"]


async def test_long_lines_are_cut(folder):
    (folder / "app" / "a.log").write_text("x" * (logs.MAX_LINE + 10) + "\n")
    assert [len(line) for line in (await read(folder, request(instance_id="a"))).lines] == [
        logs.MAX_LINE
    ]


async def test_a_file_is_followed_from_before_it_exists(folder):
    reader, all_logs = Reader(), Logs(folder)
    path = folder / "app" / "a.log"
    async with asyncio.TaskGroup() as group:
        all_logs.open(group, request(instance_id="a", follow=True), reader.send)
        await asyncio.sleep(0.05)
        with path.open("a") as file:
            file.write("one\nhalf")
            file.flush()
            await reader.until(lambda: reader.lines == ["one"])
            file.write(" a line\n")
            file.flush()
            await reader.until(lambda: reader.lines == ["one", "half a line"])
        path.write_text("anew\n")
        await reader.until(lambda: reader.lines[-1] == "anew")
        all_logs.cancel("s")
    assert reader.end is None


async def test_reading_goes_on_behind_a_position(folder):
    (folder / "app" / "a.log").write_text("one\ntwo\nthree\nhalf")
    first = await read(folder, request(instance_id="a", tail_lines=3))
    assert first.lines == ["two", "three", "half"]
    rest = await read(folder, request(instance_id="a", resume=4))
    assert rest.lines == ["two", "three", "half"]
    assert (await read(folder, request(instance_id="a", resume=18))).lines == []
    part = node_pb2.AttemptLog(worker="w", start=4, end=8)
    (folder / "worker" / "w.log").write_text("one\ntwo\nthree\n")
    assert (await read(folder, request(attempt=part, resume=4))).lines == ["two"]


async def test_following_an_attempt_ends_with_it(folder):
    reader, all_logs = Reader(), Logs(folder)
    path = folder / "worker" / "w.log"
    path.write_text("other\n")
    async with asyncio.TaskGroup() as group:
        part = node_pb2.AttemptLog(worker="w", start=6)
        all_logs.open(group, request(attempt=part, follow=True), reader.send)
        with path.open("a") as file:
            file.write("mine\nlast")
        await reader.until(lambda: reader.lines == ["mine"])
        all_logs.attempt_ended("w", 6, 15)
    assert reader.lines == ["mine", "last"]
    assert reader.end is not None


async def test_an_attempt_is_followed_behind_one_that_wrote_nothing(folder):
    path = folder / "worker" / "w.log"
    path.write_text("one\n")
    all_logs, reader = Logs(folder), Reader()
    all_logs.attempt_began("w", 0)
    all_logs.attempt_ended("w", 0, 4)
    all_logs.attempt_began("w", 4)
    all_logs.attempt_ended("w", 4, 4)
    all_logs.attempt_began("w", 4)
    asked = request(attempt=node_pb2.AttemptLog(worker="w", start=4), follow=True)
    async with asyncio.TaskGroup() as group:
        all_logs.open(group, asked, reader.send)
        with path.open("a") as file:
            file.write("two\n")
        await reader.until(lambda: reader.lines == ["two"])
        with path.open("a") as file:
            file.write("three\n")
        await reader.until(lambda: reader.lines == ["two", "three"])
        all_logs.attempt_ended("w", 4, 14)
    assert reader.lines == ["two", "three"]


def test_the_tail_for_a_status_begins_with_the_process(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("earlier\nnow 1\nnow 2\n")
    assert logs.last_lines(str(path), 8, 20) == ("now 1", "now 2")
    assert logs.last_lines(str(tmp_path / "none.log"), 0, 20) == ()
