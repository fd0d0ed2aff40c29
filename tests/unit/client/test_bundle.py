"""Which files travel, where they are imported from, and that the archive is always the same."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from callmesh import _modules, bundle
from callmesh.errors import CodeBundleError
from callmesh.layers import Source

Loader = Callable[..., ModuleType]

DECLARES = "import callmesh as flyte\nenv = flyte.TaskEnvironment(name='e'{more})\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    """Write a module below the temporary folder and import it under a name."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)

    def loader(path: str, text: str = DECLARES.format(more=""), name: str = "") -> ModuleType:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name or file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield loader
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(made: bundle.Bundle) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(made.data)) as archive:
        return archive.getnames()


def test_loaded_modules_travel_and_installed_ones_do_not(load: Loader, tmp_path: Path) -> None:
    load("one_helper.py", "x = 1\n")
    module = load("one_app.py", "import json, httpx, one_helper\n" + DECLARES.format(more=""))
    (tmp_path / "not_loaded.py").write_text("")
    made = bundle.make([module.env])
    assert names(made) == ["one_app.py", "one_helper.py"]
    assert made.root == tmp_path
    assert made.sys_path == ()


def test_the_archive_depends_on_contents_alone(load: Loader, tmp_path: Path) -> None:
    module = load("two_app.py")
    first = bundle.make([module.env])
    (tmp_path / "two_app.py").touch()
    assert bundle.make([module.env]).digest == first.digest
    (tmp_path / "two_app.py").write_text("# changed\n")
    assert bundle.make([module.env]).digest != first.digest


def test_modules_of_several_folders_share_their_nearest_root(load: Loader, tmp_path: Path) -> None:
    load("lib/three_helper.py", "x = 1\n")
    module = load("apps/three_app.py")
    made = bundle.make([module.env])
    assert made.root == tmp_path
    assert names(made) == ["apps/three_app.py", "lib/three_helper.py"]
    assert made.sys_path == ("apps", "lib")
    alone = load("other/four_app.py")
    assert bundle.make([alone.env], root_dir=tmp_path / "other").files == ("four_app.py",)


def test_a_package_is_imported_from_above_it(load: Loader, tmp_path: Path) -> None:
    load("pkg5/__init__.py", "", "pkg5")
    module = load("pkg5/mod.py", name="pkg5.mod")
    made = bundle.make([module.env])
    assert names(made) == ["pkg5/__init__.py", "pkg5/mod.py"]
    assert _modules.locate(module.env) == _modules.Location("pkg5.mod", "env")
    assert _modules.import_name(tmp_path / "pkg5" / "mod.py") == ("pkg5.mod", tmp_path)
    assert _modules.import_name(tmp_path / "pkg5" / "__init__.py") == ("pkg5", tmp_path)


def test_include_brings_files_folders_and_patterns(load: Loader, tmp_path: Path) -> None:
    for name in ("data/a.csv", "data/b.csv", "page.html", "notes/n.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    more = ", include=['data', 'page.html', 'notes/*.txt']"
    module = load("six_app.py", DECLARES.format(more=more))
    assert names(bundle.make([module.env])) == [
        "data/a.csv",
        "data/b.csv",
        "notes/n.txt",
        "page.html",
        "six_app.py",
    ]


def test_all_brings_the_root_but_for_what_is_ignored(load: Loader, tmp_path: Path) -> None:
    module = load("seven_app.py")
    (tmp_path / ".gitignore").write_text("*.log\n/secret\n# comment\n")
    for name in ("x.log", "secret/key", ".git/config", "kept/file", "__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    made = bundle.make([module.env], copy_style="all", root_dir=tmp_path)
    assert names(made) == [".gitignore", "kept/file", "seven_app.py"]


def test_none_brings_nothing(load: Loader) -> None:
    made = bundle.make([load("eight_app.py").env], copy_style="none")
    assert (made.digest, made.data) == ("", b"")


def test_what_cannot_travel_is_named(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = load("nine_app.py", DECLARES.format(more=", include=['nothing.txt']"))
    with pytest.raises(CodeBundleError, match=r"`nothing\.txt`, which matches nothing in"):
        bundle.make([missing.env])
    outside = load("ten_app.py")
    with pytest.raises(CodeBundleError, match="is outside the root folder"):
        bundle.make([outside.env], root_dir=tmp_path / "elsewhere")
    hidden = load("eleven_app.py", "import callmesh\nenvs = [callmesh.TaskEnvironment('e')]\n")
    with pytest.raises(CodeBundleError, match="must be a variable of module `eleven_app`"):
        bundle.make([hidden.envs[0]])
    with pytest.raises(CodeBundleError, match=r"before `\.py` its name must have letters"):
        _modules.import_name(tmp_path / "a.b.py")
    assert _modules.import_name(tmp_path / "a-b.py")[0] == "a-b"
    monkeypatch.setattr(bundle, "MAX_BUNDLE", 10)
    with pytest.raises(CodeBundleError, match=r"is over 0 MiB, the largest files being `"):
        bundle.make([outside.env])


def test_a_script_is_named_as_an_importer_would(tmp_path: Path) -> None:
    script = tmp_path / "apps" / "script.py"
    script.parent.mkdir()
    (script.parent / "beside.py").write_text("x = 1\n")
    check = "from callmesh import _modules, bundle; made = bundle.make([env])\n"
    check += "print(_modules.locate(env).module, made.files, made.root.name, made.sys_path)\n"
    script.write_text("import beside\n" + DECLARES.format(more="") + check)
    for command in ([str(script)], ["-m", "script"]):
        where = script.parent if command[0] == "-m" else tmp_path
        done = subprocess.run(
            [sys.executable, *command], cwd=where, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "script ('beside.py', 'script.py') apps ()"


def test_an_images_sources_are_placed_as_a_dockerfile_would(load: Loader, tmp_path: Path) -> None:
    module = load("placed.py")
    data = tmp_path / "elsewhere" / "data"
    data.mkdir(parents=True)
    (data / "a.csv").write_text("1")
    (tmp_path / "elsewhere" / "one.txt").write_text("1")
    one = tmp_path / "elsewhere" / "one.txt"

    def placed(*sources: Source) -> list[str]:
        made = bundle.make([module.env], root_dir=tmp_path, sources=sources)
        return [name for name in names(made) if name != "placed.py"]

    assert placed(Source(one, "."), Source(one, "sub/"), Source(one, "two.txt")) == [
        "one.txt",
        "sub/one.txt",
        "two.txt",
    ]
    assert placed(Source(data, "."), Source(data, "in"), Source(data, "flat", contents=True)) == [
        "data/a.csv",
        "flat/a.csv",
        "in/data/a.csv",
    ]
    for source in (Source(one, "/srv/one.txt"), Source(one, "../one.txt")):
        with pytest.raises(CodeBundleError, match="outside the code's folder"):
            placed(source)
    with pytest.raises(CodeBundleError, match="does not exist"):
        placed(Source(tmp_path / "nothing", "."))
