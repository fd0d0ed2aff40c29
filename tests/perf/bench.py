"""`make bench`: every figure of the mesh beside a floor measured in the same run.

Timed assertions never gate CI: this prints, and with ``--write`` keeps the
table in BENCH.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import failures
from figures import Figure, median, table, timed
from floors import chain
from mesh import ROOT, Mesh, eventually

HERE = Path(__file__).parent
FRESH = """
import callmesh as flyte
import json, statistics
env = flyte.TaskEnvironment(name="fresh{n}")

@env.task
def fresh(x: int) -> int:
    return x
"""


def main() -> int:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        figures.append(up_ready(home))
        with Mesh(state=home / "bench" / "callmesh" / "default").running() as mesh:
            time.sleep(2)  # the base zygote is warm a moment after `up` is ready
            figures += idle(mesh)
            for part in (deployed, hop, warm_run, first_run):
                found = part(mesh, home)
                figures += found
                print(table(found), flush=True)
        figures += failures.detected(home / "cluster")
    text = table(figures)
    print(text)
    if "--write" in sys.argv:
        write(text)
    return 0


def up_ready(home: Path) -> Figure:
    """From the command to "ready", on an empty state folder."""
    durations = []
    for number in range(3):
        mesh = Mesh(state=home / f"up{number}" / "callmesh" / "default")
        began = time.perf_counter()
        mesh.up()
        durations.append(time.perf_counter() - began)
        mesh.down()
    return Figure("`callmesh up` until ready, empty state", min(durations), "s", 1.0)


def idle(mesh: Mesh) -> list[Figure]:
    """Memory and CPU of everything that is ours, without an app."""
    processes = mesh.processes()
    sizes = {f"{label(p)} ({p.pid})": p.memory_full_info().pss / 1e6 for p in processes}
    before = sum(sum(p.cpu_times()[:2]) for p in processes)
    time.sleep(10)
    after = sum(sum(p.cpu_times()[:2]) for p in processes)
    parts = ", ".join(f"{name.rsplit(' ', 1)[0]} {size:.0f}" for name, size in sizes.items())
    return [
        Figure("idle memory, PSS of all our processes", sum(sizes.values()), "MB", 250,
               note=parts),
        Figure("idle CPU", (after - before) / 10 * 100, "% of a core", 1.0),
    ]  # fmt: skip


def label(process: psutil.Process) -> str:
    """A process's role in a word or two."""
    words = [word for word in process.cmdline() if word and not word.startswith("-")]
    if len(words) > 1 and words[0].endswith("python"):
        return words[1]
    return Path(words[0]).name


def answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return ask


def deployed(mesh: Mesh, home: Path) -> list[Figure]:
    """Two dependent apps, from the command until the front one has called the back one."""
    began = time.perf_counter()
    mesh.cli("deploy", str(HERE / "apps.py"), "front_env")
    eventually(5, "the front app answers", lambda: mesh.get("bench-front")[0] == 200)
    took = time.perf_counter() - began
    return [Figure("two dependent apps deployed and answering", took, "s", 1.0,
                   floor=direct(), floor_is="two uvicorns started by hand")]  # fmt: skip


def direct() -> float:
    """Seconds until two uvicorns, started one after the other, answer."""
    began = time.perf_counter()
    with ExitStack() as stack:
        for name, port in (("back", 18761), ("front", 18762)):
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", f"apps:{name}", f"--port={port}",
                 "--log-level=error"], cwd=HERE)  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for path, port in (("/", 18761), ("/docs", 18762)):
            eventually(10, "uvicorn answers", answers(f"http://127.0.0.1:{port}{path}"))
        return time.perf_counter() - began


def hop(mesh: Mesh, home: Path) -> list[Figure]:
    """App to app, through the node's Envoy and straight to the instance."""
    front = mesh.json("get", "app", "bench-front")["endpoint"]
    back = mesh.json("get", "app", "bench-back")
    instance = back["instances"][0]
    straight = f"http://{instance['address']}:{instance['port']}/"
    through = f"{back['endpoint']}/"

    def ask(url: str, calls: int, callers: int) -> list[float]:
        answer = httpx.get(f"{front}/measure", timeout=120, trust_env=False,
                           params={"url": url, "calls": calls, "callers": callers})  # fmt: skip
        answer.raise_for_status()
        return list(answer.json())

    for url in (straight, through):
        ask(url, 300, 1)
    alone = {url: median([median(ask(url, 500, 1)[:-1]) for _ in range(3)])
             for url in (straight, through)}  # fmt: skip
    rates = {url: max(1600 / ask(url, 1600, 16)[-1] for _ in range(3))
             for url in (straight, through)}  # fmt: skip
    return [
        Figure("app→app, added by the mesh at the median",
               (alone[through] - alone[straight]) * 1e3, "ms", 0.5,
               note=f"direct {alone[straight] * 1e3:.2f} ms, mesh {alone[through] * 1e3:.2f} ms"),
        Figure("app→app throughput at 16 callers, of a direct call's",
               100 * rates[through] / rates[straight], "%", 70, least=True,
               note=f"direct {rates[straight]:.0f}/s, mesh {rates[through]:.0f}/s"),
    ]  # fmt: skip


def identity(x: int) -> int:
    return x


def warm_run(mesh: Mesh, home: Path) -> list[Figure]:
    """Submit to result, one at a time."""
    mesh.cli("deploy", str(HERE / "apps.py"))
    durations = json.loads(mesh.python(HERE / "runs.py", "warm", "300"))
    took = median(durations) * 1e3
    with ProcessPoolExecutor(1) as pool:
        pool.submit(identity, 1).result()
        floor = median(timed(300, lambda: pool.submit(identity, 1).result()))
    return [
        Figure("warm task, submit→result at the median", took, "ms", 2.0,
               floor=floor * 1e3, floor_is="a process pool"),
        Figure("the same, against what it cannot do without", took, "ms", 2.0,
               floor=chain(home) * 1e3,
               floor_is="a gRPC stream's round trip and two durable commits"),
    ]  # fmt: skip


def first_run(mesh: Mesh, home: Path) -> list[Figure]:
    """The first run of code that the mesh has never seen, less the code's own imports."""
    beyond = []
    for number in range(5):
        folder = home / f"fresh{number}"
        folder.mkdir()
        file = folder / f"fresh{number}.py"
        file.write_text(FRESH.format(n=number))
        took, imports = json.loads(mesh.python(HERE / "runs.py", "first", str(file)))
        beyond.append(took - imports)
    return [Figure("first run of new code, beyond its imports", median(beyond) * 1e3, "ms", 100)]


def write(text: str) -> None:
    """Keep the table in BENCH.md."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "?")  # fmt: skip
    (ROOT / "BENCH.md").write_text(
        "# Figures\n\n"
        "Written by `make bench`. Every floor was measured in the same run as the figure\n"
        "beside it; between runs, on a noisy machine, only the ratios compare.\n\n"
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({cpu}), "
        f"Python {platform.python_version()}.\n\n{text}\n\n{(HERE / 'notes.md').read_text()}"
    )


if __name__ == "__main__":
    sys.exit(main())
