"""A bad wire between two interfaces: loses frames by a seed and holds back the others.

Run as `lossy_wire.py ONE OTHER LOSS DELAY SEED` in the namespace of both. Says
`ready` when it carries; for each line on its standard input, what became of the
frames so far, as JSON.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
MOST_FRAMES = 5000
MOST_BYTES = 65536


def opened(interface: str) -> socket.socket:
    """A raw socket that gets what arrives at an interface, and nothing that it sends there."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((interface, ETH_P_ALL))
    made.setblocking(False)
    return made


@dataclass
class Direction:
    """Frames on their way from one socket to the other, each with when it is due."""

    source: socket.socket
    target: socket.socket
    loss: float
    delay: float
    dice: random.Random
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    passed: int = 0
    lost: int = 0
    overflowed: int = 0

    def take(self) -> None:
        """What has arrived joins the queue, or is lost."""
        due = time.monotonic() + self.delay
        while True:
            try:
                frame = self.source.recv(MOST_BYTES)
            except BlockingIOError:
                return
            if self.dice.random() < self.loss:
                self.lost += 1
            elif len(self.waiting) >= MOST_FRAMES:
                self.overflowed += 1
            else:
                self.waiting.append((due, frame))

    def give(self) -> float | None:
        """Send what is due; seconds until the next is, None if nothing waits."""
        while self.waiting:
            left = self.waiting[0][0] - time.monotonic()
            if left > 0:
                return left
            _, frame = self.waiting.popleft()
            try:
                self.target.send(frame)
                self.passed += 1
            except OSError:  # the queue of the interface is full, or it is down
                self.overflowed += 1
        return None


def main() -> None:
    """Carry frames until killed, or until nobody holds the standard input."""
    one, other = opened(sys.argv[1]), opened(sys.argv[2])
    loss, delay, seed = float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    directions = [
        Direction(source, target, loss, delay, random.Random(seed + index))
        for index, (source, target) in enumerate(((one, other), (other, one)))
    ]
    selector = selectors.DefaultSelector()
    for direction in directions:
        selector.register(direction.source, selectors.EVENT_READ, direction)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        waits = [wait for direction in directions if (wait := direction.give()) is not None]
        for key, _ in selector.select(min(waits, default=None)):
            if key.data:
                key.data.take()
            elif not sys.stdin.readline():
                return
            else:
                told = ("passed", "lost", "overflowed")
                total = {name: sum(getattr(d, name) for d in directions) for name in told}
                print(json.dumps(total), flush=True)


if __name__ == "__main__":
    main()
