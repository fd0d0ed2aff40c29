"""What happens to a mesh in one simulation: users' wishes and accidents, made from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

ACCIDENTS_END = 40.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, ``at`` seconds after the beginning."""

    at: float
    kind: str
    target: str = ""
    # Seconds that it lasts, where that means something.
    lasts: float = 0.0
    number: int = 0

    def __str__(self) -> str:
        says = {
            "deploy": "deploy app `{target}` with {number} replicas",
            "deploy broken": "deploy a broken revision of app `{target}`",
            "deploy dependent": "deploy app `{target}`, which depends on `alpha`",
            "deploy fixed port": "deploy app `{target}`, which binds port 8080 itself",
            "scale": "scale app `{target}` to {number}",
            "deactivate": "deactivate app `{target}`",
            "activate": "activate app `{target}`",
            "rollback": "roll app `{target}` back",
            "delete": "delete app `{target}`",
            "run": "submit run `{target}`: work of {lasts:.2f} s",
            "run failing": "submit run `{target}`, which fails {number} times, with 2 retries",
            "run parent": "submit run `{target}` with {number} children",
            "run limited": "submit run `{target}`: work of {lasts:.2f} s, at most 1 s a try",
            "abort": "abort run `{target}`",
            "drain": "drain {target}; deadline in {lasts:.2f} s",
            "undrain": "take {target} back into use",
            "kill server": "kill the server; it is back after {lasts:.2f} s",
            "kill agent": "kill the agent of {target}; it is back after {lasts:.2f} s",
            "kill up": "kill the server and the agent of {target} for {lasts:.2f} s",
            "kill supervisor": "kill the supervisor of {target}; it is back after {lasts:.2f} s",
            "kill app": "kill a process of an app on {target}",
            "kill worker": "kill a worker on {target}",
            "kill zygote": "kill a zygote on {target}",
            "run heavy": "submit run `{target}`: work of {lasts:.2f} s with 2 GiB",
            "stop server": "stop the server for {lasts:.2f} s (SIGSTOP)",
            "stop agent": "stop the agent of {target} for {lasts:.2f} s (SIGSTOP)",
            "leap": "set the server's clock {lasts:+.1f} s",
            "full disk": "fill the server's disk for {lasts:.2f} s",
            "cut": "break the connection of {target}; the server notices after {lasts:.2f} s",
            "reboot": "cut the power of {target} for {lasts:.2f} s",
            "lose machine": "lose machine {target} for good",
            "partition": "cut the line of {target}, and keep it down for {lasts:.2f} s",
        }[self.kind]
        text = says.format(target=self.target, lasts=self.lasts, number=self.number)
        return f"{self.at:7.3f} s  {text}"


APPS = ("alpha", "alpha", "beta", "gamma")


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A machine of a story."""

    name: str
    zone: str = ""
    slots: int = 3
    # GiB.
    memory: int = 8
    # Seconds that its clock is ahead.
    skew: float = 0.0

    def __str__(self) -> str:
        where = f" in zone {self.zone}" if self.zone else ""
        return (
            f"node {self.name}{where}: {self.slots} slots, {self.memory} GiB, "
            f"clock {self.skew:+.1f} s"
        )


def story(seed: int) -> list[Step]:
    """The steps of a seed, in their order."""
    rng = random.Random(seed)
    nodes = [each.name for each in nodes_of(seed)]
    steps = [*_deploys(rng), *_runs(rng), *_accidents(rng, nodes)]
    return sorted(steps, key=lambda each: each.at)


def nodes_of(seed: int) -> list[NodePlan]:
    """One node, as a laptop is, or up to five that differ."""
    rng = random.Random(f"nodes of {seed}")
    count = rng.choices([1, 2, 3, 4, 5], weights=[35, 30, 20, 9, 6])[0]
    if count == 1:
        return [NodePlan("n1")]
    return [
        NodePlan(
            f"n{number}",
            zone=rng.choice(["", "a", "b"]),
            slots=rng.randint(1, 4),
            memory=rng.choice([4, 8]),
            skew=rng.choice([0.0, 0.0, 2.0, -2.0, 20.0, -20.0]),
        )
        for number in range(1, count + 1)
    ]


def _deploys(rng: random.Random) -> list[Step]:
    steps = [Step(rng.uniform(0, 1), "deploy", "alpha", number=rng.randint(1, 2))]
    if rng.random() < 0.6:
        steps.append(Step(rng.uniform(0, 1), "deploy dependent", "beta", number=1))
    if rng.random() < 0.3:
        steps.append(Step(rng.uniform(0, 1), "deploy fixed port", "gamma", number=1))
    for _ in range(rng.randint(0, 5)):
        kind = rng.choice(
            [
                "deploy",
                "deploy",
                "deploy broken",
                "scale",
                "deactivate",
                "activate",
                "rollback",
                "delete",
            ]
        )
        # What binds its port itself has room for one on a node.
        app = rng.choice(("alpha", "beta") if kind == "scale" else APPS)
        steps.append(Step(rng.uniform(2, 35), kind, app, number=rng.randint(1, 3)))
    return steps


def _runs(rng: random.Random) -> list[Step]:
    steps = []
    for number in range(rng.randint(5, 20)):
        kind = rng.choices(
            ["run", "run failing", "run parent", "run limited", "run heavy"],
            weights=[6, 2, 2, 1, 1],
        )[0]
        name = f"r{number}"
        at = rng.uniform(0, 38)
        count = rng.randint(1, 4)
        lasts = rng.choice([0.001, 0.05, 0.5, 2.0, 8.0])
        steps.append(Step(at, kind, name, lasts, count))
        if rng.random() < 0.1:
            steps.append(Step(at + rng.choice([0.001, 0.1, 3.0]), "abort", name))
    return steps


# What may go wrong, and for how many seconds.
ACCIDENTS: dict[str, tuple[float, ...]] = {
    "kill server": (0.01, 0.3, 2.0, 2.0, 15.0),
    "kill agent": (0.01, 0.3, 2.0, 2.0, 15.0),
    "kill up": (0.01, 2.0, 15.0),
    "kill supervisor": (0.05, 0.3, 2.0),
    "kill app": (0.0, 0.0),
    "kill worker": (0.0, 0.0),
    "kill zygote": (0.0,),
    "reboot": (0.3, 2.0, 15.0),
    "cut": (0.01, 0.3, 2.0, 15.0),
    "partition": (0.3, 3.0, 8.0, 15.0, 30.0),
    "stop server": (0.5, 8.0, 15.0, 25.0),
    "stop agent": (0.5, 4.0, 8.0, 15.0, 25.0),
    "leap": (-20.0, -3.0, 3.0, 20.0),
    "full disk": (0.5, 3.0, 10.0),
    "drain": (0.0, 2.0, 15.0),
    "undrain": (0.0,),
}
# Drawn as often as they stand here.
_KINDS = [
    *ACCIDENTS,
    *(
        "kill server",
        "kill agent",
        "kill app",
        "kill worker",
        "partition",
        "partition",
        "stop server",
    ),
]


def _accidents(rng: random.Random, nodes: list[str]) -> list[Step]:
    steps = []
    for _ in range(rng.choice([0, 2, 4, 8, 20])):
        kind = rng.choice(_KINDS)
        lasts = rng.choice(ACCIDENTS[kind])
        steps.append(Step(rng.uniform(0.5, ACCIDENTS_END), kind, rng.choice(nodes), lasts))
    if len(nodes) > 1 and rng.random() < 0.3:
        steps.append(Step(rng.uniform(5, ACCIDENTS_END), "lose machine", nodes[-1]))
    return steps
