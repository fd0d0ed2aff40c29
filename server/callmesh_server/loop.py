"""The loop: takes dirty keys, has them decided, and performs the answers.

One turn decides until nothing is dirty or `TURN` keys were decided; then the
event loop gets its turn. A key whose decision fails by a defect of ours is
logged and tried again with backoff: it must not stop the others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import secrets
import string
import time
from collections.abc import Callable, Iterable

from callmesh_server.apply import Applier
from callmesh_server.clock import LeapWatch
from callmesh_server.core import actions as do
from callmesh_server.core.decide import decide
from callmesh_server.core.world import DesiredKey, Ids, Key, NodeKey, QueueKey, ViewKey, World
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import common_pb2

log = logging.getLogger(__name__)

TURN = 500
INBOX_SECONDS = 0.1
# While it waits for something the loop wakes so often, seconds; if it is later by so
# many, the process was stopped, and its nodes had nobody to speak to.
BEAT = 1.0
STANDSTILL = 1.0
_QUEUE = QueueKey()
_VIEW = ViewKey()
RETRY = Backoff(base=0.1, cap=30.0)
_ALPHABET = string.ascii_lowercase + string.digits


def _place(key: ViewKey | DesiredKey) -> int:
    """Services first, then the view that they make; what shall run relies on the view."""
    if isinstance(key, DesiredKey):
        return 2
    return int(key.name is None)


class ServerIds:
    """`core.world.Ids` of a server's life: fences of its epoch, random suffixes."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._counter = itertools.count(1)

    def next_fence(self) -> common_pb2.Fence:
        """A fence later than every one before it."""
        return common_pb2.Fence(epoch=self._epoch, counter=next(self._counter))

    def suffix(self) -> str:
        """Five random characters of [a-z0-9]."""
        return random_name(5)


def random_name(length: int) -> str:
    """Random characters of [a-z0-9]."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Loop:
    """Owns the dirty keys and the wakes. `run` it in one task."""

    def __init__(
        self,
        world: World,
        applier: Applier,
        ids: Ids,
        push: Callable[[ViewKey | DesiredKey], float],
        renew: Callable[[], None] = lambda: None,
        watch: LeapWatch | None = None,
    ) -> None:
        """``push`` sends the mesh view or a node's desired set to the sessions, and says when
        to do it again, epoch seconds, or 0;
        ``renew`` gives every node a full lease: the wall clock leapt, or this process
        stood still and heard nobody."""
        self._world = world
        self._applier = applier
        self._ids = ids
        self._push = push
        self._renew = renew
        self._watch = watch or LeapWatch()
        self._dirty: dict[Key, None] = {}
        self._pushes: dict[ViewKey | DesiredKey, None] = {}
        self._failures: dict[Key, int] = {}
        self._wakes: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._wanted = asyncio.Event()
        # Seconds that the longest turn took since somebody asked.
        self.longest_turn = 0.0

    def mark(self, keys: Iterable[Key]) -> None:
        """Decide these keys in the next turn."""
        for key in keys:
            if isinstance(key, (ViewKey, DesiredKey)):
                self._pushes[key] = None
                if isinstance(key, ViewKey):
                    self._pushes[_VIEW] = None
            else:
                self._dirty[key] = None
        self._wanted.set()

    def wake_at(self, key: Key, at: float) -> None:
        """Decide ``key`` at ``at``. Of several wakes of a key the earliest counts:
        every decision names its next one again."""
        known = self._wakes.get(key)
        if known is not None and known <= at:
            return
        self._wakes[key] = at
        heapq.heappush(self._heap, (at, next(self._number), key))
        if len(self._heap) > 2 * len(self._wakes) + 64:
            self._heap = [each for each in self._heap if self._wakes.get(each[2]) == each[0]]
            heapq.heapify(self._heap)
        self._set_timer()

    def unwake(self, key: Key) -> None:
        """The key's object is gone: do not decide it again."""
        self._wakes.pop(key, None)

    def react(self, event: Callable[[World, float], list[do.Action]]) -> None:
        """Have an event decided now, and perform the answer."""
        self._applier.perform(event(self._world, time.time()))
        self._wanted.set()

    async def run(self) -> None:
        """Decide for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._turn()
            if self._dirty:
                self._wanted.set()
                await asyncio.sleep(0)

    def _turn(self) -> None:
        began = time.perf_counter()
        now = time.time()
        for _ in range(TURN):
            if not self._dirty:
                break
            # The queue first: a run that is not its head would only wait for it.
            key = _QUEUE if _QUEUE in self._dirty else next(iter(self._dirty))
            del self._dirty[key]
            self._decide(key, now)
        if not self._dirty:
            pushes, self._pushes = self._pushes, {}
            for each in sorted(pushes, key=_place):
                self._decide(each, now)
        self._applier.flush()
        self.longest_turn = max(self.longest_turn, time.perf_counter() - began)

    def _decide(self, key: Key, now: float) -> None:
        try:
            if isinstance(key, (ViewKey, DesiredKey)):
                again = self._push(key)
                if again:
                    self.wake_at(key, again)
            else:
                self._applier.perform(decide(self._world, key, now, self._ids))
        except Exception:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            log.exception("cannot decide %s", key)
            self.wake_at(key, now + RETRY.delay(failures))
        else:
            self._failures.pop(key, None)

    def _set_timer(self) -> None:
        if not self._heap:
            return
        at = min(self._heap[0][0], time.time() + BEAT)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, at - time.time()) + 0.001, self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = time.time()
        if leap := self._watch.leap():
            log.warning("the clock leapt by %.1f s: every node gets a full lease", leap)
            self._renew()
        elif now - self._timer_at > STANDSTILL:
            still = now - self._timer_at
            log.warning("this server stood still for %.1f s: every node gets a full lease", still)
            self._renew()
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._wakes.get(key) == at:
                del self._wakes[key]
                due.append(key)
        nodes = [key for key in due if isinstance(key, NodeKey)]
        self.mark(key for key in due if not isinstance(key, NodeKey))
        if nodes:
            # What they sent meanwhile is read before a lease is called over.
            asyncio.get_running_loop().call_later(INBOX_SECONDS, self.mark, nodes)
        self._set_timer()
