"""What an image asks for, against what this interpreter has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from callmesh import requirements
from callmesh.errors import ImageBuildError, InvalidPackageError
from callmesh.image import Image

BASE = Image.from_debian_base()


def check(image: Image) -> list[str]:
    return requirements.check(requirements.resolve(image, "env"), "env")


def test_what_is_installed_satisfies() -> None:
    image = BASE.with_pip_packages("httpx>=0.20", "pydantic[email]", "Click").with_env_vars(
        {"A": "1"}
    )
    assert check(image) == []
    resolved = requirements.resolve(image, "env")
    assert resolved.requirements == ("httpx>=0.20", "pydantic[email]", "Click")
    assert resolved.env_vars == (("A", "1"),)


def test_flyte_means_this_package() -> None:
    assert check(BASE.with_pip_packages("flyte>=99", "callmesh")) == []


def test_markers_are_honoured() -> None:
    assert check(BASE.with_pip_packages("nothing-of-this-name; python_version < '3.0'")) == []


def test_what_lacks_is_named_with_the_remedy() -> None:
    image = BASE.with_pip_packages("httpx>=9999", "nothing-of-this-name")
    with pytest.raises(InvalidPackageError) as caught:
        check(image)
    text = str(caught.value)
    assert "`httpx>=9999` (installed: " in text
    assert "`nothing-of-this-name` (not installed)" in text
    assert f"{sys.executable} -m pip install 'httpx>=9999' 'nothing-of-this-name'" in text
    with pytest.raises(InvalidPackageError, match="is not a requirement"):
        check(BASE.with_pip_packages("???"))


def test_files_are_read_at_deploy(tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    image = BASE.with_requirements(listed)
    with pytest.raises(ImageBuildError, match="cannot be read"):
        check(image)
    listed.write_text("# comment\nhttpx  # why\n\n-i https://example.org\n")
    assert requirements.resolve(image, "env").requirements == ("httpx",)
    assert check(image) == []
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\ndependencies = ["click"]\n')
    assert requirements.resolve(BASE.with_uv_project(project), "env").requirements == ("click",)


def test_a_scripts_header_is_read(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        '# /// script\n# dependencies = [\n#   "httpx",\n#   "flyte",\n# ]\n# ///\nimport httpx\n'
    )
    image = Image.from_uv_script(script, name="x")
    assert requirements.resolve(image, "env").requirements == ("httpx", "flyte")


def test_another_python_is_said_and_containers_are_refused() -> None:
    other = (3, 10 if sys.version_info[1] != 10 else 12)
    (line,) = check(Image.from_debian_base(python_version=other))
    assert f"`env` asks for Python 3.{other[1]}" in line
    for image, name in (
        (BASE.with_apt_packages("curl"), "with_apt_packages"),
        (BASE.with_commands(["ls"]), "with_commands"),
        (Image.from_base("python:3"), "from_base"),
        (Image.from_dockerfile("Dockerfile"), "from_dockerfile"),
    ):
        with pytest.raises(ImageBuildError, match=f"`env` uses `{name}`"):
            check(image)
