"""Apps that are served without a mesh, by scripts and by the CLI, as real processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from alone import CALLMESH, PROJECTS, Terminal, environment, left, run, script
from mesh import eventually

HERE = PROJECTS / "here.py"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> object:
    yield
    assert eventually(10, "nothing is left", lambda: not left(tmp_path)), left(tmp_path)


def test_two_default_ports_parameters_variables_and_the_end(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
import os, psutil, socket, threading
before = dict(os.environ)
handle = flyte.with_servecontext(env_vars={"OVER": "given"}).serve(here.front)
assert isinstance(handle, flyte.AppHandle)
back_port = handle.brought[0].port
assert handle.is_active() and not handle.is_deactivated(), handle
assert handle.port != back_port
answer = _get(handle.endpoint)
pid = answer["back"].pop("pid")
assert pid != os.getpid()
print(answer)
assert here.front.endpoint == handle.endpoint
assert os.environ == before
handle.deactivate(wait=True)
assert handle.is_deactivated() and not psutil.pid_exists(pid)
for port in (handle.port, back_port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
assert psutil.Process().children(recursive=True) == []
port = handle.port
print(handle.activate(wait=True).state, [t.name for t in threading.enumerate()])
assert handle.port == port and _get(handle.endpoint)["same"]
handle.deactivate()
""",
    )
    assert done.returncode == 0, done.stderr
    assert "{'back': {'who': 'back', 'over': 'given'}, 'same': True" in done.stdout
    assert "'number': '3', 'name': 'front', 'mode': 'local'}" in done.stdout
    assert "ready ['MainThread', 'callmesh-loop']" in done.stdout


def test_hooks_run_and_a_child_of_the_server_is_ended(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
with flyte.with_servecontext(mode="local").serve(here.hooked).ephemeral_ctx_sync() as handle:
    print("inside", handle.state)
print("after", handle.state)

import asyncio

async def main():
    handle = await flyte.serve.aio(here.command)
    async with handle.ephemeral_ctx():
        print("async", handle.is_active())
    print("async", handle.is_active())

asyncio.run(main())
""",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    child = int(next(line for line in lines if line.startswith("child")).split()[1])
    assert not psutil.pid_exists(child)
    wanted = ["up hi", "inside ready", "down", "after inactive", "async True", "async False"]
    assert [line for line in lines if line in wanted] == wanted


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
def fails(env, **how):
    try:
        flyte.with_servecontext(mode="local", **how).serve(env)
    except flyte.errors.DeploymentError as problem:
        print("SAID", problem)

fails(here.crash)
fails(here.deaf, activate_timeout=1)
fails(here.sick, activate_timeout=4)
fails(flyte.app.AppEnvironment(name="empty"))
front = here.front.clone_with("lonely", depends_on=[])
fails(front)
try:
    here.back.endpoint
except flyte.errors.AppNotFoundError as problem:
    print("SAID", problem)
""",
    )
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("SAID ") for line in done.stdout.splitlines() if "SAID" in line]
    assert "app `crash` ended with exit code 3 before it took calls" in said[0]
    assert "last words" in done.stdout
    assert "nothing listens on port" in said[1] and "`PORT` names" in said[1]
    assert "GET /health answered 503" in said[2]
    assert "app `empty` has nothing to run" in said[3]
    assert "address of app `back`, which is not served here" in said[4]
    assert "app `back` has no endpoint: it is not served here" in said[5]


def test_a_run_brings_up_what_it_depends_on(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
run = flyte.run(here.ask)
print(run.outputs(), run.phase.value, run.done(), run.raw_phase)
served = here.front.endpoint
assert flyte.run(here.ask).name != run.name
assert here.front.endpoint == served
print(flyte.with_runcontext(env_vars={"GIVEN": "yes"}).run(here.variables).outputs())
print(flyte.run(here.variables).outputs())
""",
    )
    assert done.returncode == 0, done.stderr
    assert "('back',) succeeded True 6" in done.stdout
    assert "(['task', 'yes'],)" in done.stdout and "(['task', 'none'],)" in done.stdout


def test_a_script_that_ends_with_serve_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    file = tmp_path / "stays.py"
    file.write_text(
        "import callmesh as flyte, here\n"
        'if __name__ == "__main__":\n    print(flyte.serve(here.front).url)\n'
    )
    terminal = Terminal(tmp_path, sys.executable, file)
    text = terminal.until("Ctrl-C ends it")
    url = text.split("`front` serves at ")[1].split()[0]
    answers: list[bytes] = []
    asking = threading.Thread(
        target=lambda: answers.append(urllib.request.urlopen(f"{url}/stop", timeout=30).read())
    )
    asking.start()
    terminal.until("(Pdb)")
    terminal.type("answer = 42\nc\n")
    asking.join(20)
    assert answers == [b"42"]
    terminal.interrupt()
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text


def test_a_script_that_goes_on_or_fails_does_not_stay(tmp_path: Path) -> None:
    done = script(tmp_path, "flyte.serve(here.hooked)\nprint(flyte.run(here.add, x=1).outputs())\n")
    assert done.returncode == 0
    assert "(3,)" in done.stdout and "down" in done.stdout
    done = script(tmp_path, "flyte.serve(here.hooked)\nraise SystemError('mine')\n")
    assert done.returncode == 1
    assert "SystemError: mine" in done.stderr and "down" in done.stdout


def test_a_script_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "killed.py"
    file.write_text("import callmesh as flyte, here\nflyte.serve(here.hooked)\n")
    process = subprocess.Popen(
        [sys.executable, file],
        env=environment(tmp_path, TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(next(line for line in process.stdout if "child" in line).split()[1])
    eventually(20, "the app is served", lambda: len(left(tmp_path)) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(20, "all is ended", lambda: not left(tmp_path))
    assert not psutil.pid_exists(child)
    assert "down" in process.stdout.read()
    assert not list(tmp_path.glob("callmesh-local-*"))


def test_files_and_folders_as_parameters(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words.txt").write_text("a word")
    done = script(
        tmp_path,
        f"""
from callmesh.io import Dir, File
file = File.from_local_sync("{tmp_path}/data/words.txt")
folder = Dir.from_local_sync("{tmp_path}/data")
values = {{"file": file, "mounted": file, "folder": folder}}
handle = flyte.with_servecontext(parameter_values={{"files": values}}).serve(here.files)
handle.deactivate(wait=True)
""",
        MOUNT=str(tmp_path / "mounted" / "here.txt"),
    )
    assert done.returncode == 0, done.stderr
    assert "files: a word, a word, ['words.txt']" in done.stdout


def test_serve_without_a_guard_says_so(tmp_path: Path) -> None:
    file = tmp_path / "unguarded.py"
    file.write_text(
        "import callmesh as flyte\nfrom here import back_app\n"
        "from callmesh.app.extras import FastAPIAppEnvironment\n"
        'env = FastAPIAppEnvironment(name="mine", app=back_app)\nflyte.serve(env)\n'
    )
    done = run(tmp_path, sys.executable, file)
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr


def test_serve_local_on_the_command_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, CALLMESH, "serve", "--local", HERE, "front", "-e", "OVER=cli")
    terminal.until("Ctrl-C ends it")
    url = eventually(
        10, "the address", lambda: [w for w in terminal.until("\nhttp://").split() if "http" in w]
    )[-1]
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert json.loads(answer.read())["back"]["over"] == "cli"
    terminal.interrupt()
    assert terminal.end() == 0
    done = run(tmp_path, CALLMESH, "serve", "--local", HERE, "crash")
    assert done.returncode == 1
    assert "error: app `crash` ended with exit code 3" in done.stderr


def test_a_port_that_the_command_names_must_be_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(tmp_path, CALLMESH, "serve", "--local", HERE, "fixed", FIXED_PORT=port)
    assert done.returncode == 1
    assert f"binds port {port} itself" in done.stderr


def test_an_app_that_ends_by_itself_ends_the_command(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [CALLMESH, "serve", "--local", HERE, "hooked"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("http"))
    apps = [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if each.cmdline()[-3:-1] == ["-P", "-m"] and "callmesh._keeper" not in each.cmdline()
    ]
    try:
        (app,) = apps
        app.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "app `hooked` ended with exit code 137" in errors


def test_run_local_prints_the_result_alone_on_stdout(tmp_path: Path) -> None:
    done = run(tmp_path, CALLMESH, "run", "--local", HERE, "add", "--x", "1", "--no-deps")
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert "adding" in done.stderr and "child adds" in done.stderr
    done = run(tmp_path, CALLMESH, "run", HERE, "ask", "--local")
    assert (done.returncode, done.stdout) == (0, '"back"\n'), done.stderr
    done = run(tmp_path, CALLMESH, "run", "--local", HERE, "fails", "--x", "1", "--no-deps")
    assert done.returncode == 1
    assert "failed: KeyError: 'no 1'" in done.stderr
    assert "in _inner" in done.stderr and "callmesh/" not in done.stderr
    words = ("fails", "--x", "1", "--no-deps", "-o", "json")
    shown = json.loads(run(tmp_path, CALLMESH, "run", "--local", HERE, *words).stdout)
    assert (shown["phase"], shown["error"]["type"]) == ("failed", "KeyError")
    done = run(tmp_path, CALLMESH, "run", "--local", HERE, "add", "--x", "one")
    assert done.returncode == 2
    done = run(tmp_path, CALLMESH, "run", "--local", HERE, "add", "--x", "1", "--detach")
    assert done.returncode == 2


def test_breakpoint_stops_a_local_run(tmp_path: Path) -> None:
    terminal = Terminal(
        tmp_path, CALLMESH, "run", "--local", HERE, "stopped", "--x", "1", "--no-deps"
    )
    terminal.until("(Pdb)")
    terminal.type("x = 7\nc\n")
    assert terminal.end() == 0
    assert terminal.text.split()[-1] == "7"


def test_ctrl_c_ends_a_local_run(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(
        "import time\nimport callmesh as flyte\nenv = flyte.TaskEnvironment(name='slow')\n"
        "@env.task\ndef wait() -> None:\n    print('waiting', flush=True)\n    time.sleep(60)\n"
    )
    terminal = Terminal(tmp_path, CALLMESH, "run", "--local", file, "wait")
    terminal.until("waiting")
    time.sleep(0.1)
    terminal.interrupt()
    assert terminal.end() == 130
    assert "Traceback" not in terminal.text


def test_a_forked_child_of_the_script_does_not_end_its_apps(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
import os, sys
handle = flyte.serve(here.back)
if os.fork() == 0:
    sys.exit(0)
os.wait()
print("still", handle.is_active(), _get(handle.endpoint + "/who")["who"])
handle.deactivate(wait=True)
""",
    )
    assert done.returncode == 0, done.stderr
    assert "still True back" in done.stdout
