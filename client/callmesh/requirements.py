"""What an image asks for: its layers and the files that they name, read at deploy."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from callmesh import layers
from callmesh._locking import project_pins
from callmesh.errors import ImageBuildError
from callmesh.image import Image
from callmesh.layers import Arguments, PipOptions, arguments_of

# Lines of a requirements file that say how, and not what; the rest is refused by name.
_LINE_OPTIONS = frozenset(
    (
        "-f",
        "-i",
        "--extra-index-url",
        "--find-links",
        "--index-url",
        "--no-binary",
        "--no-index",
        "--only-binary",
        "--pre",
        "--prefer-binary",
    )
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image with its files read.

    ``lock`` is empty where the running interpreter satisfies it. The options
    are those of `uv pip`: ``index_options`` of every installation,
    ``resolve_options`` of resolving alone.
    """

    requirements: tuple[str, ...]
    env_vars: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    python_version: str = ""
    sources: tuple[layers.Source, ...] = ()
    constraints: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ()
    resolve_options: tuple[str, ...] = ()
    requires_python: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()
    lock_python: str = ""


@dataclass(slots=True)
class _Read:
    """An image while its layers are read."""

    owner: str
    wanted: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    index: list[str] = field(default_factory=list)
    resolve: list[str] = field(default_factory=list)
    requires_python: list[str] = field(default_factory=list)

    def options(self, options: PipOptions, base: Path | None = None) -> Arguments:
        """Take over how a layer is installed. Folders that it names are relative to ``base``."""
        if options.index_url:
            self._index_url(options.index_url)
        self.index += [f"--extra-index-url={each}" for each in options.extra_index_urls]
        if options.pre:
            self.resolve.append("--prerelease=allow")
        found = arguments_of(options.extra_args)
        if found.refused:
            listed = ", ".join(f"`{each}`" for each in found.refused)
            raise ImageBuildError(
                f"the image of `{self.owner}` has {listed} in `extra_args`, which callmesh does "
                "not hand to `uv`: remove it"
            )
        self.index += [_absolute(each, base or Path.cwd()) for each in found.index]
        self.resolve += found.resolve
        return found

    def _index_url(self, url: str) -> None:
        option = f"--index-url={url}"
        other = [each for each in self.index if each.startswith("--index-url=") and each != option]
        if other:
            raise ImageBuildError(
                f"the image of `{self.owner}` names two `index_url`s: give one of them as "
                "`extra_index_urls`"
            )
        self.index.append(option)

    def refuse(self, what: str, why: str) -> ImageBuildError:
        """The error for something that an image has and callmesh does not do."""
        comma = "," if why.startswith(("which ", "whose ")) else ""
        return ImageBuildError(f"the image of `{self.owner}` uses `{what}`{comma} {why}")

    def file(self, path: Path, *, into: list[str]) -> None:
        """A requirements file, with the files and the indexes that it names."""
        for line in _joined(self.text(path)):
            name, _, value = line.replace("=", " ", 1).partition(" ")
            value = value.strip()
            if not line.startswith("-"):
                requirement, hashes, _ = line.partition(" --hash")
                if hashes:
                    raise self.refuse(
                        f"--hash of {path.name}",
                        "which is not carried to the node: name versions alone, as "
                        "`uv export --no-hashes` does",
                    )
                into.append(requirement.strip())
            elif name in ("-r", "--requirement"):
                self.file(path.parent / value, into=into)
            elif name in ("-c", "--constraint"):
                self.file(path.parent / value, into=self.constraints)
            elif name in ("-e", "--editable"):
                raise self.refuse(
                    line,
                    f"in `{path.name}`: code of yours travels with what is deployed; remove the "
                    "line, and name its dependencies",
                )
            elif name in _LINE_OPTIONS:
                if name != "--prefer-binary":
                    self.options(PipOptions(extra_args=line), path.parent)
            else:
                raise self.refuse(line, f"in `{path.name}`, which callmesh does not hand to `uv`")

    def script(self, path: Path) -> None:
        """The PEP 723 header of a script."""
        header = _script_header(self.text(path), path)
        self.wanted += [str(each) for each in header.get("dependencies", [])]
        if header.get("requires-python"):
            self.requires_python.append(str(header["requires-python"]))
        self.tool_uv(header.get("tool", {}).get("uv", {}), path)

    def tool_uv(self, settings: dict[str, Any], path: Path) -> None:
        """What a script's header says to `uv`."""
        for name, value in settings.items():
            match name:
                case "index-url":
                    self._index_url(str(value))
                case "extra-index-url":
                    self.index += [f"--extra-index-url={each}" for each in value]
                case "index":
                    for each in value:
                        option = "--index-url" if each.get("default") else "--extra-index-url"
                        self.index.append(f"{option}={each.get('url', '')}")
                case "prerelease" | "resolution" | "exclude-newer":
                    self.resolve.append(f"--{name}={value}")
                case _:
                    raise self.refuse(f"[tool.uv] {name}", f"in `{path.name}`: remove it")

    def project(self, layer: layers.UvProject) -> None:
        """A project's dependencies: pinned where it has a lock."""
        chosen = self.options(layer.options).project
        parsed = _toml(self.text(layer.path), layer.path)
        about = parsed.get("project", {})
        if about.get("requires-python"):
            self.requires_python.append(str(about["requires-python"]))
        lock = layer.uvlock or layer.path.with_name("uv.lock")
        if layer.uvlock or lock.is_file():
            pins = project_pins(self.text(layer.path), self.text(lock), chosen, self.owner)
            for line in pins:
                if line.startswith(("-e ", "./", "../", "/", "file:")):
                    raise self.refuse(
                        line,
                        f"by `{lock.name}`: code of yours travels with what is deployed; name it "
                        "with `include` or `root_dir`, and not as a dependency",
                    )
            self.wanted += pins
            return
        if chosen or parsed.get("tool", {}).get("uv", {}).get("sources"):
            raise self.refuse(
                str(layer.path),
                "whose extras, groups or sources only a lock resolves: run `uv lock` beside it",
            )
        self.wanted += [str(each) for each in about.get("dependencies", [])]

    def text(self, path: Path) -> str:
        """A file that the image names."""
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as problem:
            said = problem.strerror if isinstance(problem, OSError) else "it is not text"
            raise ImageBuildError(
                f"the image of `{self.owner}` names `{path}`, which cannot be read: {said}"
            ) from None


def resolve(image: Image, owner: str) -> Resolved:
    """Read an image's layers. ``owner`` is the environment's name, for messages.

    Raises `ImageBuildError` for a layer that needs a container or is not
    supported, for a file that is missing, and for an option that is not known.
    """
    read = _Read(owner)
    variables: dict[str, str] = {}
    workdir, sources, notices = "", [], []
    for layer in image.layers:
        match layer:
            case layers.PipPackages():
                read.options(layer.options)
                read.wanted += layer.packages
            case layers.Requirements():
                read.options(layer.options)
                read.file(layer.path, into=read.wanted)
            case layers.UvScript():
                read.options(layer.options)
                read.script(layer.path)
            case layers.UvProject():
                read.project(layer)
            case layers.EnvVars():
                variables.update(layer.variables)
            case layers.WorkDir(directory):
                workdir = directory
            case layers.Source():
                sources.append(layer)
            case layers.Unused(what, why):
                notices.append(f"the image of `{owner}` names `{what}`, which is not used: {why}")
            case layers.Refused(what, why):
                raise read.refuse(what, why)
    version = image.python_version
    made = Resolved(
        requirements=tuple(dict.fromkeys(read.wanted)),
        env_vars=tuple(variables.items()),
        workdir=workdir,
        python_version=f"{version[0]}.{version[1]}" if version else "",
        sources=tuple(sources),
        constraints=tuple(dict.fromkeys(read.constraints)),
        index_options=tuple(dict.fromkeys(read.index)),
        resolve_options=tuple(dict.fromkeys(read.resolve)),
        requires_python=tuple(read.requires_python),
        notices=tuple(notices),
    )
    _no_passwords(made, owner)
    return made


def with_lock(resolved: Resolved, lock: tuple[str, ...], python: str) -> Resolved:
    """The same with the lock that was made of it."""
    return replace(resolved, lock=lock, lock_python=python)


def _no_passwords(resolved: Resolved, owner: str) -> None:
    for each in (*resolved.index_options, *resolved.requirements):
        scheme, _, rest = each.partition("://")
        who, has_user, _ = rest.partition("/")[0].rpartition("@")
        # A user alone is a token to web servers, and none to others: git@example.
        if has_user and (":" in who or scheme.endswith(("http", "https"))):
            address = rest.partition("/")[0]
            raise ImageBuildError(
                f"the image of `{owner}` has a password in the address of "
                f"`{address.rpartition('@')[2]}`, which would be kept in the mesh's records: put "
                "it in `~/.netrc`, here and on the nodes"
            )


def _absolute(option: str, base: Path) -> str:
    """An option with the folder that it names, if any, in full."""
    name, _, value = option.partition("=")
    if name != "--find-links" or "://" in value:
        return option
    return f"{name}={(base / value).resolve()}"


def _joined(text: str) -> list[str]:
    """The lines of a requirements file, without comments, continued ones as one."""
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        bare = line.split(" #")[0].strip()
        if bare and not bare.startswith("#"):
            lines.append(" ".join(bare.split()))
    return lines


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ImageBuildError(f"`{path}` is not TOML: {problem}") from None


def _script_header(text: str, script: Path) -> dict[str, Any]:
    """What a PEP 723 header says; nothing without one."""
    block: list[str] | None = None
    for line in text.splitlines():
        if line.rstrip() == "# /// script":
            block = []
        elif block is not None and line.rstrip() == "# ///":
            try:
                return tomllib.loads("\n".join(block))
            except tomllib.TOMLDecodeError as problem:
                raise ImageBuildError(f"the header of `{script}` is not TOML: {problem}") from None
        elif block is not None:
            block.append(line.removeprefix("#").removeprefix(" "))
    return {}
