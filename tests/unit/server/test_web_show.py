"""Records as the pages show them."""

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from callmesh_server.web import show
from callmeshpb.v1 import common_pb2, scheduler_pb2


def test_enums_are_words() -> None:
    phase = scheduler_pb2.RUN_PHASE_WAITING_FOR_RESOURCES
    assert show.word(scheduler_pb2.RunPhase, phase) == "waiting for resources"
    assert show.word(scheduler_pb2.AppState, scheduler_pb2.APP_STATE_READY) == "ready"
    true = common_pb2.CONDITION_STATUS_TRUE
    assert show.word(common_pb2.ConditionStatus, true) == "true"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (-0.1, "under 1 ms"),
        (0.0015, "1.5 ms"),
        (0.042, "42 ms"),
        (0.5, "0.5 s"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (3 * 3600 + 60, "3 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units_at_most(amount: float, text: str) -> None:
    assert show.seconds(amount) == text


def test_times_are_relative_and_unset_ones_are_empty() -> None:
    assert show.ago(Timestamp(seconds=100), 100.4) == "just now"
    assert show.ago(Timestamp(seconds=100), 105.0) == "5 s ago"
    assert show.ago(Timestamp(), 105.0) == ""
    assert show.duration(Timestamp(seconds=100), Timestamp(), 102.0) == "2.0 s"
    assert show.duration(Timestamp(), Timestamp(), 102.0) == ""


def test_json_is_indented_and_bounded() -> None:
    assert show.value_text(common_pb2.Value(json=b'{"a":1}')) == '{\n  "a": 1\n}'
    long = show.value_text(common_pb2.Value(json=json.dumps("x" * 10_000).encode()))
    assert len(long) < show.VALUE_LIMIT + 60
    assert long.endswith("… and 6,002 characters more")


def test_a_pickle_is_described_not_read() -> None:
    assert show.value_text(common_pb2.Value(pickle=b"x" * 2048)) == (
        "a Python object (2.0 KiB pickled)"
    )


def test_a_large_value_is_named_by_its_blob() -> None:
    ref = common_pb2.BlobRef(digest="ab" * 32, size=3 << 20, media="json")
    assert (
        show.value_text(common_pb2.Value(ref=ref)) == "a JSON value (3.0 MiB, blob abababababab…)"
    )


def test_replicas_count_ready_instances_that_are_wanted() -> None:
    app = scheduler_pb2.App(spec=scheduler_pb2.AppSpec(min_replicas=2))
    status = scheduler_pb2.InstanceStatus(state=scheduler_pb2.INSTANCE_STATE_READY)
    app.instances.add(status=status, intent=scheduler_pb2.INSTANCE_INTENT_RUN)
    app.instances.add(status=status, intent=scheduler_pb2.INSTANCE_INTENT_DRAIN)
    assert show.replicas(app) == "1 of 2"
    app.desired_state = scheduler_pb2.DESIRED_STATE_INACTIVE
    assert show.replicas(app) == "1 of 0"


def test_a_task_is_shown_as_it_is_called() -> None:
    task = scheduler_pb2.TaskSpec()
    task.interface.parameters.add(name="text", type="str", required=True)
    task.interface.parameters.add(name="top", type="int")
    task.interface.result_type = "list[str]"
    assert show.signature(task) == "(text: str, top: int = …) -> list[str]"


def test_children_are_grouped_oldest_first() -> None:
    runs = [
        scheduler_pb2.Run(name="c", group="g", created_at=Timestamp(seconds=3)),
        scheduler_pb2.Run(name="a", created_at=Timestamp(seconds=1)),
        scheduler_pb2.Run(name="b", group="g", created_at=Timestamp(seconds=2)),
    ]
    names = {group: [run.name for run in each] for group, each in show.groups(runs).items()}
    assert names == {"": ["a"], "g": ["b", "c"]}


def test_every_state_word_has_one_tone() -> None:
    for enum in (scheduler_pb2.RunPhase, scheduler_pb2.AppState, scheduler_pb2.InstanceState):
        for value in enum.values():
            assert show.tone(show.word(enum, value)) in {"good", "bad", "busy", "idle"}
