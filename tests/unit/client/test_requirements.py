"""What an image asks for: layers and files, read at deploy."""

from __future__ import annotations

from pathlib import Path

import pytest

from callmesh import requirements
from callmesh._satisfied import lacking
from callmesh.errors import ImageBuildError, InvalidPackageError
from callmesh.image import Image
from callmesh.layers import arguments_of
from callmesh.requirements import Resolved

BASE = Image.from_debian_base()


def resolve(image: Image) -> Resolved:
    return requirements.resolve(image, "env")


def test_layers_add_up() -> None:
    image = (
        BASE.with_pip_packages("httpx>=0.20", "pydantic[email]", pre=True)
        .with_pip_packages("Click", index_url="https://one.example/simple")
        .with_pip_packages("Click", extra_index_urls="https://two.example/simple")
        .with_env_vars({"A": "1"})
        .with_env_vars({"A": "2", "B": "3"})
        .with_workdir("data")
        .with_source_folder("seeds", "data", copy_contents_only=True)
    )
    made = resolve(image)
    assert made.requirements == ("httpx>=0.20", "pydantic[email]", "Click")
    assert made.env_vars == (("A", "2"), ("B", "3"))
    assert made.workdir == "data"
    assert made.index_options == (
        "--index-url=https://one.example/simple",
        "--extra-index-url=https://two.example/simple",
    )
    assert made.resolve_options == ("--prerelease=allow",)
    assert [(each.destination, each.contents) for each in made.sources] == [("data", True)]


def test_extra_arguments_are_sorted_and_strangers_refused() -> None:
    text = "--index-strategy unsafe-best-match --no-build -U --pre --only-binary=:all: --extra gpu"
    found = arguments_of(f"{text} --target /x -f ./wheels")
    assert found.index == (
        "--index-strategy=unsafe-best-match",
        "--no-build",
        "--only-binary=:all:",
        "--find-links=./wheels",
    )
    assert found.resolve == ("--prerelease=allow",)
    assert found.project == ("--extra=gpu",)
    assert found.refused == ("--target", "/x")
    with pytest.raises(ImageBuildError, match="`env` has `--target`, `/x` in `extra_args`"):
        resolve(BASE.with_pip_packages("x", extra_args="--target /x"))


def test_what_is_installed_satisfies() -> None:
    assert lacking(Resolved(("httpx>=0.20", "Click", "flyte>=99", "callmesh"))) == []
    assert lacking(Resolved(("nothing-of-this-name; python_version < '3.0'",))) == []
    assert lacking(Resolved((), constraints=("httpx>=0.20", "nothing-of-this-name==1"))) == []


def test_what_lacks_is_named() -> None:
    wanted = ("httpx>=9999", "nothing-of-this-name", "httpx @ https://h.example/x.whl", "click")
    assert lacking(Resolved(wanted)) == list(wanted[:3])
    # Its extra needs a package that is not there, though httpx itself is.
    assert lacking(Resolved(("httpx[nothing]", "uvicorn[standard]"))) == []
    assert lacking(Resolved((), constraints=("httpx<0.1",))) == ["httpx<0.1"]
    with pytest.raises(InvalidPackageError, match="`\\?\\?\\?` is not a requirement"):
        lacking(Resolved(("???",)))


def test_requirements_files_are_read_at_deploy(tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    image = BASE.with_requirements(listed)
    with pytest.raises(ImageBuildError, match="cannot be read"):
        resolve(image)
    (tmp_path / "more.txt").write_text("click>=8\n")
    (tmp_path / "limits.txt").write_text("click<9\n")
    listed.write_text(
        "# comment\nhttpx  # why\n\n-i https://example.org/simple\n-r more.txt\n"
        "--constraint=limits.txt\n--pre\npydantic \\\n  >=2\n"
    )
    made = resolve(image)
    assert made.requirements == ("httpx", "click>=8", "pydantic >=2")
    assert made.constraints == ("click<9",)
    assert made.index_options == ("--index-url=https://example.org/simple",)
    assert made.resolve_options == ("--prerelease=allow",)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("-e ./mine", "`-e ./mine`"),
        ("httpx==1 --hash=sha256:00", "`--hash of requirements.txt`"),
        ("--trusted-host example.org", "`--trusted-host example.org`"),
    ],
)
def test_lines_that_are_not_carried_are_refused(tmp_path: Path, line: str, named: str) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text(f"{line}\n")
    with pytest.raises(ImageBuildError) as caught:
        resolve(BASE.with_requirements(listed))
    assert f"`env` uses {named}" in str(caught.value)


def test_a_project_without_a_lock_gives_its_dependencies(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.12"\n'
        'dependencies = ["click"]\n'
    )
    made = resolve(BASE.with_uv_project(project))
    assert (made.requirements, made.requires_python) == (("click",), (">=3.12",))
    with pytest.raises(ImageBuildError, match="run `uv lock` beside it"):
        resolve(BASE.with_uv_project(project, extra_args="--extra web"))
    with pytest.raises(ImageBuildError, match="`env` uses `install_project`"):
        resolve(BASE.with_uv_project(project, project_install_mode="install_project"))


def test_a_scripts_header_is_read(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "httpx",\n'
        '#   "flyte",\n# ]\n# [[tool.uv.index]]\n# url = "https://three.example/simple"\n'
        "# ///\nimport httpx\n"
    )
    made = resolve(Image.from_uv_script(script, name="x", pre=True))
    assert made.requirements == ("httpx", "flyte")
    assert made.requires_python == (">=3.11",)
    assert made.index_options == ("--extra-index-url=https://three.example/simple",)
    assert made.resolve_options == ("--prerelease=allow",)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (BASE.with_apt_packages("curl"), "with_apt_packages"),
        (BASE.with_commands(["ls"]), "with_commands"),
        (Image.from_base("python:3"), "from_base"),
        (Image.from_dockerfile("Dockerfile"), "from_dockerfile"),
        (Image.from_pixi_script("x.py"), "from_pixi_script"),
        (BASE.with_poetry_project("pyproject.toml"), "with_poetry_project"),
        (BASE.with_pixi_project("pixi.toml"), "with_pixi_project"),
        (BASE.with_pip_packages("x", secret_mounts=["token"]), "secret_mounts"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(image: Image, named: str) -> None:
    with pytest.raises(ImageBuildError, match=f"`env` uses `{named}`"):
        resolve(image)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (BASE.with_apt_packages("git"), "uses `with_apt_packages` (git), which needs a container"),
        (Image.from_dockerfile("D"), "uses `from_dockerfile` (D), which needs a container"),
        (
            BASE.with_pip_packages("x", secret_mounts=["t"]),
            "`secret_mounts` of `with_pip_packages`",
        ),
    ],
)
def test_a_refusal_is_a_sentence(image: Image, said: str) -> None:
    with pytest.raises(ImageBuildError) as caught:
        resolve(image)
    assert said in str(caught.value)


def test_an_old_python_is_refused_and_unused_options_are_said() -> None:
    with pytest.raises(ValueError, match=r"3\.10 is not one that callmesh runs: 3\.11"):
        Image.from_debian_base(python_version=(3, 10))
    notices = resolve(Image.from_debian_base(registry="r.example", flyte_version="2")).notices
    assert [line.split("`")[3] for line in notices] == ["flyte_version", "registry"]


def test_a_password_in_an_address_is_refused() -> None:
    image = BASE.with_pip_packages("x", index_url="https://me:hidden@one.example/simple")
    with pytest.raises(ImageBuildError, match=r"`one\.example`.*netrc") as caught:
        resolve(image)
    assert "hidden" not in str(caught.value)
    image = BASE.with_pip_packages("x @ git+https://hidden@two.example/x.git")
    with pytest.raises(ImageBuildError, match=r"`two\.example`.*netrc") as caught:
        resolve(image)
    assert "hidden" not in str(caught.value)
    assert resolve(BASE.with_pip_packages("x @ git+ssh://git@two.example/x.git")).requirements
    two = BASE.with_pip_packages("x", index_url="https://a/s").with_pip_packages(
        "y", index_url="https://b/s"
    )
    with pytest.raises(ImageBuildError, match="two `index_url`s"):
        resolve(two)
