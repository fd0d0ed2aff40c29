"""Record files of processes."""

from __future__ import annotations

from pathlib import Path

from callmesh_agent.supervisor.records import Records
from callmeshpb.v1 import supervisor_pb2


def record(process_id: str, pid: int) -> supervisor_pb2.ProcessRecord:
    process = supervisor_pb2.Process(process_id=process_id, pid=pid, running=True)
    return supervisor_pb2.ProcessRecord(process=process, argv=["x"])


def test_what_was_written_is_read_by_a_successor(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(record("app/a", 0))
    records.write(record("app/a", 7), flush=True)
    records.write(record("envoy", 8))
    assert list(Records(tmp_path).read_all()) == [record("app/a", 7), record("envoy", 8)]
    records.remove("app/a")
    records.remove("app/never")
    assert list(records.read_all()) == [record("envoy", 8)]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_torn_record_is_dropped(tmp_path: Path) -> None:
    records = Records(tmp_path)
    (tmp_path / "app~a.record").write_bytes(b"\xff\xff\xff")
    (tmp_path / "app~b.record").write_bytes(b"")
    records.write(record("app/c", 7))
    assert list(records.read_all()) == [record("app/c", 7)]
    assert [path.name for path in tmp_path.iterdir()] == ["app~c.record"]


def test_no_record_has_room_for_an_environment() -> None:
    fields = {field.name for field in supervisor_pb2.ProcessRecord.DESCRIPTOR.fields}
    fields |= {field.name for field in supervisor_pb2.Process.DESCRIPTOR.fields}
    assert not fields & {"environment", "start"}
