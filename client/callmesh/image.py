"""Which Python environment code needs: an immutable list of layers.

Each ``with_…`` returns a new image. Files that a layer names are read when the
image is deployed, not here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

PathLike = str | Path


@dataclass(frozen=True, slots=True)
class PipPackages:
    """Requirements, as pip takes them."""

    packages: tuple[str, ...]
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    pre: bool = False


@dataclass(frozen=True, slots=True)
class Requirements:
    """A requirements file."""

    file: Path


@dataclass(frozen=True, slots=True)
class UvScript:
    """The PEP 723 header of a script."""

    script: Path


@dataclass(frozen=True, slots=True)
class UvProject:
    """A project's dependencies, from its pyproject.toml."""

    pyproject_file: Path


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
    """A file or a folder of the user's, copied."""

    path: Path
    destination: str


@dataclass(frozen=True, slots=True)
class Container:
    """A layer that only a container image can have. ``what`` names the method."""

    what: str
    detail: str


Layer = PipPackages | Requirements | UvScript | UvProject | EnvVars | WorkDir | Source | Container


@dataclass(frozen=True, slots=True)
class Image:
    """An environment: a Python version and layers on it.

    Made by the ``from_…`` class methods; `from_debian_base` is the usual one.
    """

    python_version: tuple[int, int] | None = None
    layers: tuple[Layer, ...] = ()
    name: str | None = None
    registry: str | None = None
    extendable: bool = field(default=True, compare=False)

    @classmethod
    def from_debian_base(
        cls,
        python_version: tuple[int, int] | None = None,
        flyte_version: str | None = None,
        install_flyte: bool = True,  # noqa: FBT001, FBT002 - Flyte's signature
        registry: str | None = None,
        registry_secret: object = None,
        name: str | None = None,
        platform: object = None,
    ) -> Image:
        """The node's own Python, of ``python_version`` where that is said.

        The SDK is always there; ``flyte_version``, ``install_flyte`` and what
        is about registries mean nothing here.
        """
        del flyte_version, install_flyte, registry_secret, platform
        return cls(_version(python_version), name=name, registry=registry)

    @classmethod
    def from_base(cls, image_uri: str) -> Image:
        """A container image. Refused at deploy until a container driver exists."""
        return cls(layers=(Container("from_base", image_uri),), extendable=False)

    @classmethod
    def from_dockerfile(
        cls, file: PathLike, registry: str = "", name: str = "", platform: object = None
    ) -> Image:
        """A Dockerfile. Refused at deploy until a container driver exists."""
        del platform
        layer = Container("from_dockerfile", str(file))
        return cls(layers=(layer,), name=name, registry=registry, extendable=False)

    @classmethod
    def from_ref_name(cls, name: str = "default") -> Image:
        """An image named in the configuration; here the node's own Python."""
        return cls(name=name)

    @classmethod
    def from_uv_script(
        cls,
        script: PathLike,
        *,
        name: str = "",
        registry: str | None = None,
        registry_secret: object = None,
        python_version: tuple[int, int] | None = None,
        index_url: str | None = None,
        extra_index_urls: str | Sequence[str] | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        platform: object = None,
        secret_mounts: object = None,
    ) -> Image:
        """The dependencies in a script's PEP 723 header."""
        del registry_secret, index_url, extra_index_urls, pre, extra_args, platform, secret_mounts
        layer = UvScript(Path(script))
        return cls(_version(python_version), (layer,), name=name, registry=registry)

    def with_pip_packages(
        self,
        *packages: str,
        index_url: str | None = None,
        extra_index_urls: str | Sequence[str] | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        secret_mounts: object = None,
    ) -> Image:
        """Further requirements."""
        del extra_args, secret_mounts
        for each in packages:
            if not isinstance(each, str):
                raise TypeError(f"a package must be a string such as 'httpx>=0.27', not {each!r}")
        extra = (extra_index_urls,) if isinstance(extra_index_urls, str) else extra_index_urls
        return self._with(PipPackages(packages, index_url, tuple(extra or ()), pre))

    def with_requirements(self, file: PathLike, **_options: object) -> Image:
        """The requirements of a ``.txt`` file."""
        path = Path(file)
        if path.suffix != ".txt":
            raise ValueError(f"a requirements file must end in `.txt`: `{file}`")
        return self._with(Requirements(path))

    def with_uv_project(
        self,
        pyproject_file: PathLike,
        uvlock: PathLike | None = None,
        project_install_mode: Literal["dependencies_only", "install_project"] = "dependencies_only",
        **_options: object,
    ) -> Image:
        """The dependencies of a project."""
        del uvlock, project_install_mode
        return self._with(UvProject(Path(pyproject_file)))

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Image:
        """Environment variables; the environment's own win over them."""
        return self._with(EnvVars(tuple((str(k), str(v)) for k, v in env_vars.items())))

    def with_workdir(self, workdir: str) -> Image:
        """The working directory."""
        return self._with(WorkDir(workdir))

    def with_source_file(self, src: PathLike, dst: str = ".") -> Image:
        """A file beside the code."""
        return self._with(Source(Path(src), dst))

    def with_source_folder(
        self,
        src: PathLike,
        dst: str = ".",
        copy_contents_only: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
    ) -> Image:
        """A folder beside the code."""
        return self._with(Source(Path(src), f"{dst}/" if copy_contents_only else dst))

    def with_apt_packages(self, *packages: str, secret_mounts: object = None) -> Image:
        """System packages. Refused at deploy until a container driver exists."""
        del secret_mounts
        return self._with(Container("with_apt_packages", " ".join(packages)))

    def with_commands(self, commands: Sequence[str], secret_mounts: object = None) -> Image:
        """Shell commands. Refused at deploy until a container driver exists."""
        del secret_mounts
        return self._with(Container("with_commands", "; ".join(commands)))

    def with_dockerignore(self, path: PathLike) -> Image:
        """Means nothing here: nothing is copied into an image."""
        del path
        return self

    def with_code_bundle(self, copy_style: str = "loaded_modules", dst: str = ".") -> Image:
        """Means nothing here: code travels as a bundle of its own."""
        del copy_style, dst
        return self

    def with_local_v2(self) -> Image:
        """Means nothing here: the SDK is always there."""
        return self

    def with_local_v2_plugins(self, *_plugins: str) -> Image:
        """Means nothing here."""
        return self

    def clone(
        self,
        registry: str | None = None,
        registry_secret: object = None,
        name: str | None = None,
        python_version: tuple[int, int] | None = None,
        addl_layer: Layer | None = None,
        extendable: bool | None = None,  # noqa: FBT001 - Flyte's signature
    ) -> Image:
        """A copy with changes."""
        del registry_secret
        changed = replace(
            self,
            registry=registry or self.registry,
            name=name or self.name,
            python_version=_version(python_version) or self.python_version,
            extendable=self.extendable if extendable is None else extendable,
        )
        return changed._with(addl_layer) if addl_layer is not None else changed

    @property
    def uri(self) -> str:
        """A name that changes with the content."""
        digest = hashlib.sha256(repr((self.python_version, self.layers)).encode()).hexdigest()
        return f"{self.name or 'callmesh'}:{digest[:16]}"

    def validate(self) -> None:
        """Raise `ValueError` where a file that a layer names is missing."""
        for layer in self.layers:
            if isinstance(layer, Requirements | UvScript | UvProject | Source):
                (path,) = (
                    value
                    for value in (getattr(layer, slot) for slot in layer.__slots__)
                    if isinstance(value, Path)
                )
                if not path.exists():
                    raise ValueError(f"the image names `{path}`, which does not exist")

    def _with(self, layer: Layer) -> Image:
        if not self.extendable:
            raise ValueError(
                f"image `{self.uri}` cannot take further layers: "
                "call `.clone(extendable=True, name=…)` first"
            )
        return replace(self, layers=(*self.layers, layer))


def image_of(request: str | Image | None) -> Image:
    """A declaration's image; None and "auto" are the plain base. Raises `TypeError`."""
    if request is None or request == "auto":
        return Image()
    if isinstance(request, Image):
        return request
    if isinstance(request, str):
        return Image.from_base(request)
    raise TypeError(f"`image` must be an `Image`, a string or None, not {request!r}")


def _version(version: tuple[int, int] | None) -> tuple[int, int] | None:
    if version is None:
        return None
    if len(version) != 2 or not all(isinstance(part, int) for part in version):
        raise ValueError(f"`python_version` must be a pair such as (3, 12), not {version!r}")
    if version < (3, 8) or version[0] != sys.version_info[0]:
        raise ValueError(
            f"`python_version` {version[0]}.{version[1]} is not one that callmesh runs"
        )
    return (version[0], version[1])
