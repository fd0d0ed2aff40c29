"""What an image is made of: values that `Image`'s methods make, read at deploy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PipOptions:
    """From where packages are installed. ``extra_args`` are for `uv`."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    pre: bool = False
    extra_args: str = ""


@dataclass(frozen=True, slots=True)
class PipPackages:
    """Requirements, as pip takes them."""

    packages: tuple[str, ...]
    options: PipOptions = PipOptions()


@dataclass(frozen=True, slots=True)
class Requirements:
    """A requirements file."""

    path: Path
    options: PipOptions = PipOptions()


@dataclass(frozen=True, slots=True)
class UvScript:
    """The PEP 723 header of a script."""

    path: Path
    options: PipOptions = PipOptions()


@dataclass(frozen=True, slots=True)
class UvProject:
    """A project's dependencies, by its lock where it has one."""

    path: Path
    uvlock: Path | None = None
    options: PipOptions = PipOptions()


@dataclass(frozen=True, slots=True)
class EnvVars:
    """Environment variables."""

    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The working directory."""

    directory: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file or a folder of the user's, copied beside the code.

    ``contents``: what is in the folder, and not the folder.
    """

    path: Path
    destination: str
    contents: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """What only a container image can have, or what callmesh has another way for.

    ``why`` goes on where "the image uses `what`" ends.
    """

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Unused:
    """An option that has no meaning without container images, said at deploy."""

    what: str
    why: str


Layer = (
    PipPackages
    | Requirements
    | UvScript
    | UvProject
    | EnvVars
    | WorkDir
    | Source
    | Refused
    | Unused
)

NEEDS_CONTAINER = (
    "which needs a container; callmesh runs code in Python environments: install it on the node "
    "and remove the layer"
)


def pip_options(
    index_url: str | None,
    extra_index_urls: str | Sequence[str] | None,
    extra_args: str | None,
    *,
    pre: bool,
) -> PipOptions:
    """A method's arguments as a value."""
    extra = (extra_index_urls,) if isinstance(extra_index_urls, str) else extra_index_urls
    return PipOptions(index_url or "", tuple(extra or ()), bool(pre), extra_args or "")


def needs_container(what: str, detail: str) -> Refused:
    """A layer that only a container image can have."""
    return Refused(what, f"({detail}), {NEEDS_CONTAINER}" if detail else NEEDS_CONTAINER)


def secrets_refused(method: str, secret_mounts: object) -> tuple[Refused, ...]:
    """``secret_mounts`` of a method that installs packages."""
    if not secret_mounts:
        return ()
    why = (
        f"of `{method}`: no secret is mounted into a build; give the user of the node access to "
        "the index by `~/.netrc`, or by `UV_INDEX_…` in the environment of `callmesh up`"
    )
    return (Refused("secret_mounts", why),)


# Options of `uv pip` that a node's installation needs too, and those that only
# resolving does; the rest takes no value.
INDEX_OPTIONS = frozenset(
    (
        "--default-index",
        "--extra-index-url",
        "--find-links",
        "--index",
        "--index-strategy",
        "--index-url",
        "--no-binary",
        "--only-binary",
    )
)
RESOLVE_OPTIONS = frozenset(("--exclude-newer", "--fork-strategy", "--prerelease", "--resolution"))
INDEX_FLAGS = frozenset(("--no-build", "--no-index"))
PROJECT_OPTIONS = frozenset(("--extra", "--group", "--no-extra", "--no-group", "--only-group"))
PROJECT_FLAGS = frozenset(("--all-extras", "--all-groups", "--no-default-groups", "--no-dev"))
# Of a build from nothing they change nothing.
MEANINGLESS = frozenset(
    (
        "-U",
        "-q",
        "-v",
        "--break-system-packages",
        "--compile-bytecode",
        "--force-reinstall",
        "--frozen",
        "--locked",
        "--no-cache",
        "--no-cache-dir",
        "--no-progress",
        "--quiet",
        "--refresh",
        "--reinstall",
        "--system",
        "--upgrade",
        "--verbose",
    )
)
_SHORT = {"-i": "--index-url", "-f": "--find-links"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Options of `uv`, sorted by what takes them, each as `--name=value`."""

    index: tuple[str, ...] = ()
    resolve: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def arguments_of(text: str) -> Arguments:
    """``extra_args`` as they are typed. What is not known is in ``refused``."""
    sorted_by: dict[str, list[str]] = {"index": [], "resolve": [], "project": [], "refused": []}
    words = shlex.split(text)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name in MEANINGLESS:
            continue
        if name == "--pre":
            sorted_by["resolve"].append("--prerelease=allow")
        elif name in INDEX_FLAGS:
            sorted_by["index"].append(name)
        elif name in PROJECT_FLAGS:
            sorted_by["project"].append(name)
        elif name in INDEX_OPTIONS | RESOLVE_OPTIONS | PROJECT_OPTIONS and (equals or words):
            whole = f"{name}={value if equals else words.pop(0)}"
            kind = "index" if name in INDEX_OPTIONS else "resolve"
            sorted_by["project" if name in PROJECT_OPTIONS else kind].append(whole)
        else:
            sorted_by["refused"].append(word)
    return Arguments(**{kind: tuple(found) for kind, found in sorted_by.items()})
