"""Backoff and trace context: pure, with randomness as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from callmesh_wire import trace
from callmesh_wire.backoff import Backoff
from callmesh_wire.methods import methods


@given(st.floats(0.001, 10), st.floats(1, 10), st.floats(0.001, 100), st.integers(0, 5000))
def test_a_delay_never_passes_its_cap(base: float, factor: float, cap: float, n: int) -> None:
    schedule = Backoff(base, factor, cap)
    assert 0 < schedule.delay(n) <= cap
    assert schedule.delay(n) / 2 <= schedule.jittered(n, lambda: 0.5) <= schedule.delay(n)


def test_delays_grow_by_the_factor() -> None:
    assert [Backoff(0.5, 2, 60).delay(n) for n in (0, 1, 2, 7, 8)] == [0.5, 1, 2, 60, 60]
    assert Backoff(0).delay(3) == 0


def test_a_trace_context_says_its_trace() -> None:
    context = trace.new_traceparent(lambda n: bytes(range(1, n + 1)))
    assert context == "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"
    assert trace.trace_id(context) == "0102030405060708090a0b0c0d0e0f10"
    assert trace.trace_id("00-" + "0" * 32 + "-0102030405060708-01") == ""
    assert trace.trace_id("garbage") == ""


def test_every_method_has_a_path_and_a_handler() -> None:
    submit = methods()["SchedulerService/Submit"]
    assert submit.path == "/callmeshpb.v1.SchedulerService/Submit"
    assert (submit.client_streaming, submit.server_streaming) == (True, True)
    assert methods()["SchedulerService/GetRun"].handler == "get_run"
