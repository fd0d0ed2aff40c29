"""How attempts and runs end, and when a run is tried again.

Every function takes a run's record as it is, and returns the actions that
record the ending. A final phase is never left.
"""

from __future__ import annotations

from callmesh_server.core import attempts, equals
from callmesh_server.core.actions import Action, MarkDirty, PutRun, SendStop, WakeAt
from callmesh_server.core.times import span, stamp
from callmesh_server.core.world import NOTHING, RunKey, World, task_key
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import common_pb2, scheduler_pb2
from callmeshpb.v1.common_pb2 import Failure
from callmeshpb.v1.scheduler_pb2 import Attempt, AttemptPhase, RetryPolicy, Run, RunPhase

USER = common_pb2.FAILURE_KIND_USER
SYSTEM = common_pb2.FAILURE_KIND_SYSTEM
# Attempts that the mesh may lose before the run fails.
MAX_LOST = 5
LOST_BACKOFF = Backoff(base=0.5, cap=10.0)
# Between TERM and KILL, seconds.
STOP_GRACE = 10.0
# After KILL, how long a node may take to say so before the attempt is given up.
STOP_MARGIN = 20.0


def copied(run: Run) -> Run:
    """A copy to change, with the next etag."""
    after = Run()
    after.CopyFrom(run)
    after.etag += 1
    return after


def end(
    world: World, run: Run, phase: RunPhase, error: Failure | None, message: str, now: float
) -> list[Action]:
    """End a run; ``run`` is the caller's own copy.

    An attempt that is still on a node is told to stop. Children that have not
    ended are aborted, unless the run succeeded.
    """
    actions: list[Action] = []
    attempt = attempts.current(run)
    if attempt is not None:
        actions.append(SendStop(attempt.node, run.name, own_fence(attempt), message, STOP_GRACE))
        close(attempt, _ATTEMPT_END[phase], error, now)
    run.phase = phase
    run.message = message
    if error is not None:
        run.error.CopyFrom(error)
    run.ended_at.CopyFrom(stamp(now))
    run.ClearField("next_attempt_at")
    actions.insert(0, PutRun(run))
    if phase == scheduler_pb2.RUN_PHASE_SUCCEEDED:
        for waiting in equals.followers(world, run):
            after = copied(waiting)
            actions += end(world, after, phase, None, equals.take_result(after, run), now)
    else:
        for child in sorted(world.children.get(run.name, NOTHING)):
            actions += abort(world, child, f"its parent run `{run.name}` has ended", now)
    return actions


def abort(world: World, name: str, reason: str, now: float) -> list[Action]:
    """End a run and all its children now, on somebody's wish. Unknown or ended: nothing."""
    run = world.runs.get(name)
    if run is None:
        return []
    message = f"aborted: {reason}" if reason else "aborted"
    error = Failure(type="Aborted", message=reason, kind=USER)
    return end(world, copied(run), scheduler_pb2.RUN_PHASE_ABORTED, error, message, now)


def attempt_failed(
    world: World, run: Run, phase: AttemptPhase, error: Failure, now: float
) -> list[Action]:
    """The user's code failed or ran too long: try again if the policy allows it.

    ``run`` is the caller's own copy, whose current attempt this ends.
    """
    close(run.attempts[-1], phase, error, now)
    policy = retries_of(world, run)
    used = attempts.counted(run)
    if error.non_recoverable or used > policy.count:
        final = (
            scheduler_pb2.RUN_PHASE_TIMED_OUT
            if phase == scheduler_pb2.ATTEMPT_PHASE_TIMED_OUT
            else scheduler_pb2.RUN_PHASE_FAILED
        )
        return end(world, run, final, error, _sentence(error), now)
    schedule = Backoff(
        base=span(policy.base),
        factor=policy.factor or 2.0,
        cap=span(policy.cap) if policy.HasField("cap") else float("inf"),
    )
    said = (
        f"attempt {len(run.attempts)} failed ({_sentence(error)}); retry {used} of {policy.count}"
    )
    return _again(run, schedule.delay(used - 1), said, now)


def attempt_lost(world: World, run: Run, why: str, now: float) -> list[Action]:
    """The mesh lost the current attempt: try again, whatever the retry policy.

    ``run`` is the caller's own copy. An attempt that was being stopped ends as
    what it was stopped for.
    """
    attempt = run.attempts[-1]
    if attempts.is_stopping(attempt):
        verdict = Failure()
        verdict.CopyFrom(attempt.error)
        if verdict.type == attempts.HANDED_ON:
            close(attempt, scheduler_pb2.ATTEMPT_PHASE_LOST, verdict, now)
            said = f"attempt {len(run.attempts)} was handed on ({verdict.message}); the next"
            return _again(run, 0.0, said, now)
        return attempt_failed(world, run, scheduler_pb2.ATTEMPT_PHASE_TIMED_OUT, verdict, now)
    error = Failure(type="WorkerLost", message=why, kind=SYSTEM)
    close(attempt, scheduler_pb2.ATTEMPT_PHASE_LOST, error, now)
    times = attempts.lost(run)
    if times > MAX_LOST:
        message = f"the mesh lost {times} attempts of it; the last: {why}"
        error.message = message
        return end(world, run, scheduler_pb2.RUN_PHASE_FAILED, error, message, now)
    delay = LOST_BACKOFF.delay(times - 2) if times > 1 else 0.0
    return _again(run, delay, f"attempt {len(run.attempts)} was lost ({why}); the next", now)


def hand_on(run: Run, why: str, now: float) -> list[Action]:
    """Stop the run's attempt, so that it is tried anew elsewhere. No retry is used up."""
    return stop(run, Failure(type=attempts.HANDED_ON, message=why, kind=SYSTEM), now)


def stop(run: Run, verdict: Failure, now: float) -> list[Action]:
    """Have the run's attempt end, which is recorded when its node says so.

    ``verdict`` is what it then ends as; its message follows "attempt 2 …" or
    is a sentence of its own.
    """
    after = copied(run)
    attempt = after.attempts[-1]
    attempt.error.CopyFrom(verdict)
    attempt.stopping_since.CopyFrom(stamp(now))
    after.message = f"attempt {attempt.number} is being stopped: {verdict.message}"
    order = SendStop(attempt.node, run.name, own_fence(attempt), verdict.message, STOP_GRACE)
    return [PutRun(after), order, WakeAt(RunKey(run.name), now + STOP_GRACE + STOP_MARGIN)]


def close(attempt: Attempt, phase: AttemptPhase, error: Failure | None, now: float) -> None:
    """End an attempt on a record of the caller's own."""
    attempt.phase = phase
    if error is not None:
        attempt.error.CopyFrom(error)
    else:
        attempt.ClearField("error")
    attempt.ended_at.CopyFrom(stamp(now))


def retries_of(world: World, run: Run) -> RetryPolicy:
    """The run's own retry policy, or its task's."""
    if run.HasField("retries"):
        return run.retries
    task = world.tasks.get(task_key(run))
    return task.spec.retries if task is not None else RetryPolicy()


def _again(run: Run, delay: float, said: str, now: float) -> list[Action]:
    run.phase = scheduler_pb2.RUN_PHASE_QUEUED
    if delay <= 0:
        run.message = f"{said} starts now"
        return [PutRun(run), MarkDirty(RunKey(run.name))]
    run.message = f"{said} starts in {delay:.3g} s"
    run.next_attempt_at.CopyFrom(stamp(now + delay))
    return [PutRun(run), WakeAt(RunKey(run.name), now + delay)]


def _sentence(error: Failure) -> str:
    first = error.message.split("\n", 1)[0]
    return f"{error.type}: {first}" if first else error.type


def own_fence(attempt: Attempt) -> common_pb2.Fence:
    """A copy of an attempt's fence, to send."""
    fence = common_pb2.Fence()
    fence.CopyFrom(attempt.fence)
    return fence


_ATTEMPT_END = {
    scheduler_pb2.RUN_PHASE_SUCCEEDED: scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED,
    scheduler_pb2.RUN_PHASE_FAILED: scheduler_pb2.ATTEMPT_PHASE_FAILED,
    scheduler_pb2.RUN_PHASE_ABORTED: scheduler_pb2.ATTEMPT_PHASE_ABORTED,
    scheduler_pb2.RUN_PHASE_TIMED_OUT: scheduler_pb2.ATTEMPT_PHASE_TIMED_OUT,
}
