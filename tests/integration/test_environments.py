"""Python environments of a real mesh: packages from PyPI, built by `uv`, shared."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mesh import Mesh, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TWO_VERSIONS = """
import callmesh as flyte

BASE = flyte.Image.from_debian_base()
app_env = flyte.app.AppEnvironment(
    "old-words", requires_auth=False, image=BASE.with_pip_packages("humanize==4.9.0"),
)
web_env = flyte.app.AppEnvironment(
    "words-command", requires_auth=False, image=BASE.with_pip_packages("humanize==4.12.0"),
    args=["python", "-m", "http.server", "$PORT"],
)


@app_env.server
def serve():
    import http.server
    import os
    import humanize

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{humanize.__version__} {os.getpid()}".encode())

        def log_message(self, *_):
            pass

    port = app_env.get_port()
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


env = flyte.TaskEnvironment(
    "new-words", depends_on=[app_env], image=BASE.with_pip_packages("humanize==4.12.0"),
)


@env.task
def versions() -> tuple[str, str, str]:
    import shutil
    import urllib.request
    import humanize

    with urllib.request.urlopen(app_env.endpoint) as answer:
        return humanize.__version__, answer.read().decode().split()[0], shutil.which("python")


@env.task
def sum_of(numbers: list[int]) -> int:
    return sum(numbers)


@env.task
async def parent() -> int:
    return await sum_of.aio([1, 2, 3])
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def wheel(folder: Path, version: str, body: str) -> None:
    """A package that only this folder has."""
    folder.mkdir(exist_ok=True)
    about = f"tinywords-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinywords-{version}-py3-none-any.whl", "w") as made:
        made.writestr("tinywords.py", body)
        made.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tinywords\nVersion: {version}\n"
        )
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")


def built(mesh: Mesh) -> dict[str, int]:
    """The environments that this mesh has, each with what tells one build from another."""
    folder = mesh.state / "agent" / "environments"
    return {
        each.parent.name: (each.parent / "pyvenv.cfg").stat().st_ino
        for each in folder.glob("*/meta.json")
    }


def test_two_versions_of_a_package_work_side_by_side(mesh: Mesh, tmp_path: Path) -> None:
    file = write(tmp_path, "side_by_side.py", TWO_VERSIONS)
    deployed = mesh.cli("deploy", str(file), timeout=200)
    assert "app old-words: deploying" in deployed.stderr
    versions = mesh.json("run", str(file), "versions", "--no-deps")
    new, old, python = versions["outputs"]
    assert (new, old) == ("4.12.0", "4.9.0")
    # The command app and the tasks share an environment.
    environments = built(mesh)
    assert len(environments) == 2
    assert Path(python).parts[-3] in environments
    assert mesh.json("run", str(file), "parent", "--no-deps")["outputs"] == 6

    pid = mesh.get("old-words")[1].split()[1]
    again = mesh.cli("deploy", str(file))
    assert "resolving" not in again.stderr
    assert built(mesh) == environments
    assert mesh.get("old-words")[1].split()[1] == pid

    mesh.down()
    shutil.rmtree(mesh.state / "agent" / "environments" / Path(python).parts[-3])
    mesh.up()
    eventually(60, "the app is back", lambda: mesh.get("old-words")[0] == 200)
    versions = mesh.json("run", str(file), "versions", "--no-deps")
    assert versions["outputs"][:2] == ["4.12.0", "4.9.0"]


def test_what_cannot_be_resolved_is_said_at_deploy(shared_mesh: Mesh, tmp_path: Path) -> None:
    source = """
        import callmesh as flyte

        env = flyte.TaskEnvironment(
            "unsolved", image=flyte.Image.from_debian_base().with_pip_packages({!r}),
        )

        @env.task
        def nothing() -> int:
            return 0
    """
    for package, said in (
        ("protobuf<5", "callmesh==0.1.0 depends on protobuf>=6.30,<8"),
        ("callmesh-no-such-package-0", "package `callmesh-no-such-package-0` does not exist"),
        ("humanize==99", "there is no version of humanize==99"),
        ("this is nothing", "`this is nothing` is not a requirement"),
    ):
        file = write(tmp_path, "unsolved.py", source.format(package))
        done = shared_mesh.cli("deploy", str(file), check=False)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_a_build_that_fails_ends_the_run_and_a_later_one_succeeds(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "1.0", "VALUE = 7\n")
    file = write(
        tmp_path,
        "local_wheel.py",
        f"""
        import callmesh as flyte

        env = flyte.TaskEnvironment(
            "local-wheel",
            image=flyte.Image.from_debian_base().with_pip_packages(
                "tinywords", extra_args="--find-links {wheels}"
            ),
        )

        @env.task
        def value() -> int:
            import tinywords

            return tinywords.VALUE
        """,
    )
    shared_mesh.cli("deploy", str(file))
    hidden = wheels.rename(tmp_path / "hidden")
    wheels.mkdir()
    done = shared_mesh.cli("run", str(file), "value", check=False)
    assert done.returncode == 1
    assert "the environment cannot be built: " in " ".join(done.stderr.split())
    assert "tinywords" in done.stderr
    wheels.rmdir()
    hidden.rename(wheels)
    assert shared_mesh.json("run", str(file), "value")["outputs"] == 7


def test_a_project_a_script_and_what_is_placed_beside_the_code(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["humanize"]\n'
    )
    subprocess.run([Path(sys.executable).with_name("uv"), "lock", "-q"], cwd=project, check=True)
    lock = project / "uv.lock"
    # An older release than the newest one: only the lock says so.
    (project / "pyproject.toml").write_text(
        (project / "pyproject.toml").read_text().replace('"humanize"', '"humanize==4.10.0"')
    )
    subprocess.run([Path(sys.executable).with_name("uv"), "lock", "-q"], cwd=project, check=True)
    (project / "pyproject.toml").write_text(
        (project / "pyproject.toml").read_text().replace('"humanize==4.10.0"', '"humanize"')
    )
    assert "4.10.0" in lock.read_text()
    script = write(
        tmp_path, "header.py", '# /// script\n# dependencies = ["humanize==4.11.0"]\n# ///\n'
    )
    data = tmp_path / "elsewhere"
    data.mkdir()
    (data / "seed.txt").write_text("17")
    file = write(
        tmp_path,
        "placed.py",
        f"""
        import callmesh as flyte

        locked = flyte.TaskEnvironment(
            "of-a-project",
            image=flyte.Image.from_debian_base()
            .with_uv_project("{project}/pyproject.toml")
            .with_env_vars({{"FROM_IMAGE": "yes"}})
            .with_source_folder("{data}", "data", copy_contents_only=True)
            .with_workdir("data"),
        )
        scripted = flyte.TaskEnvironment(
            "of-a-script", image=flyte.Image.from_uv_script("{script}", name="s"),
        )

        @locked.task
        def locked_version() -> list[str]:
            import os
            import pathlib
            import humanize

            return [
                humanize.__version__,
                os.environ["FROM_IMAGE"],
                pathlib.Path("seed.txt").read_text(),
            ]

        @scripted.task
        def scripted_version() -> str:
            import humanize

            return humanize.__version__
        """,
    )
    run = shared_mesh.json("run", str(file), "locked_version")
    assert run["outputs"] == ["4.10.0", "yes", "17"]
    assert shared_mesh.json("run", str(file), "scripted_version")["outputs"] == "4.11.0"


def test_another_python_is_used_where_the_node_has_it(shared_mesh: Mesh, tmp_path: Path) -> None:
    source = """
        import callmesh as flyte

        env = flyte.TaskEnvironment(
            "older-python", image=flyte.Image.from_debian_base(python_version=(3, {})),
        )

        @env.task
        def python() -> list[int]:
            import sys

            return list(sys.version_info[:2])
    """
    (node,) = shared_mesh.json("get", "nodes")
    versions = node["capacity"]["python_versions"]
    running = f"3.{sys.version_info[1]}"
    file = write(tmp_path, "pythons.py", source.format(99))
    done = shared_mesh.cli("run", str(file), "python", "-o", "json")
    assert "asks for Python 3.99 and uses 3." in " ".join(done.stderr.split())
    for version in set(versions) - {running}:
        minor = int(version.partition(".")[2])
        file = write(tmp_path, "pythons.py", source.format(minor))
        run = shared_mesh.json("run", str(file), "python")
        assert run["outputs"] == [3, minor]


def test_what_is_kept_on_disk_is_told(shared_mesh: Mesh) -> None:
    def storage() -> dict[str, Any]:
        (node,) = shared_mesh.json("get", "nodes")
        return {each["kind"]: each for each in node.get("storage", [])}

    server = {each["kind"]: each for each in shared_mesh.json("status")["storage"]}
    assert set(server) == {"store", "blobs"}
    assert int(server["store"]["bytes"]) > 0
    told = eventually(30, "the node says what it keeps", storage)
    assert set(told) == {"environments", "bundles", "logs"}
    assert int(told["bundles"]["cap"]) > 0


def test_a_module_that_the_image_does_not_name_is_said(shared_mesh: Mesh, tmp_path: Path) -> None:
    image = 'flyte.Image.from_debian_base().with_pip_packages("humanize==4.9.0")'
    file = write(
        tmp_path,
        "unnamed.py",
        f"""
        import callmesh as flyte
        import httpx

        env = flyte.TaskEnvironment("unnamed", image={image})
        app_env = flyte.app.AppEnvironment("unnamed-app", requires_auth=False, image={image})

        @env.task
        def status() -> int:
            return httpx.codes.OK

        @app_env.server
        def serve() -> None:
            pass
        """,
    )
    hint = "the environment of this image has no `httpx`; name it in the image"
    done = shared_mesh.cli("run", str(file), "status", check=False)
    assert done.returncode == 1
    assert hint in " ".join(done.stderr.split())
    done = shared_mesh.cli("deploy", str(file), "app_env", check=False)
    assert done.returncode == 1
    assert hint in " ".join(done.stderr.split())


def test_a_build_that_was_cut_short_by_kill_is_done_again(mesh: Mesh, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "cut_short.py",
        """
        import callmesh as flyte

        env = flyte.TaskEnvironment(
            "cut-short", image=flyte.Image.from_debian_base().with_pip_packages("humanize==4.8.0"),
        )

        @env.task
        def version() -> str:
            import humanize

            return humanize.__version__
        """,
    )
    mesh.cli("deploy", str(file))
    folder = mesh.state / "agent" / "environments"
    waiting = mesh.spawn("run", str(file), "version", stdout=subprocess.PIPE)
    eventually(60, "the build has begun", lambda: list(folder.glob("*/pyvenv.cfg")))
    mesh.process("up").kill()
    mesh.up()
    output, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert output.strip() == '"4.8.0"'
    assert len(built(mesh)) == 1
    assert mesh.json("run", str(file), "version")["outputs"] == "4.8.0"
