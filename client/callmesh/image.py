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

from callmesh.layers import (
    EnvVars,
    Layer,
    PipPackages,
    Refused,
    Requirements,
    Source,
    Unused,
    UvProject,
    UvScript,
    WorkDir,
    needs_container,
    pip_options,
    secrets_refused,
)

OLDEST_PYTHON = (3, 11)

PathLike = str | Path


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

        The SDK is always there, in the node's version. What is about registries,
        platforms and other versions is not used, which a notice at deploy says.
        """
        asked = {
            "flyte_version": (flyte_version, "the mesh's own version is there"),
            "install_flyte": (not install_flyte, "the SDK is always there"),
            "registry": (registry, _NOTHING_PUSHED),
            "registry_secret": (registry_secret, _NOTHING_PUSHED),
            "platform": (platform, "the node's own is what it runs on"),
        }
        return cls(_version(python_version), _unused(asked), name=name, registry=registry)

    @classmethod
    def from_base(cls, image_uri: str) -> Image:
        """A container image. Refused at deploy until a container driver exists."""
        return cls(layers=(needs_container("from_base", image_uri),), extendable=False)

    @classmethod
    def from_dockerfile(
        cls, file: PathLike, registry: str = "", name: str = "", platform: object = None
    ) -> Image:
        """A Dockerfile. Refused at deploy until a container driver exists."""
        del platform
        layer = needs_container("from_dockerfile", str(file))
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
        """The dependencies in a script's PEP 723 header, on a Python that it takes.

        ``extra_args`` are options of `uv pip`.
        """
        asked = {
            "registry": (registry, _NOTHING_PUSHED),
            "registry_secret": (registry_secret, _NOTHING_PUSHED),
            "platform": (platform, "the node's own is what it runs on"),
        }
        options = pip_options(index_url, extra_index_urls, extra_args, pre=pre)
        layers: tuple[Layer, ...] = (
            *_unused(asked),
            *secrets_refused("from_uv_script", secret_mounts),
            UvScript(Path(script), options),
        )
        return cls(_version(python_version), layers, name=name, registry=registry)

    @classmethod
    def from_pixi_script(cls, script: PathLike, **_options: object) -> Image:
        """A pixi script. Refused at deploy: `from_uv_script` reads a PEP 723 header."""
        why = "which is not supported: name its packages in a PEP 723 header (`from_uv_script`)"
        return cls(layers=(Refused("from_pixi_script", f"({script}), {why}"),))

    def with_pip_packages(
        self,
        *packages: str,
        index_url: str | None = None,
        extra_index_urls: str | Sequence[str] | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        secret_mounts: object = None,
    ) -> Image:
        """Further requirements. ``extra_args`` are options of `uv pip`."""
        for each in packages:
            if not isinstance(each, str):
                raise TypeError(f"a package must be a string such as 'httpx>=0.27', not {each!r}")
        options = pip_options(index_url, extra_index_urls, extra_args, pre=pre)
        refused = secrets_refused("with_pip_packages", secret_mounts)
        return self._with(*refused, PipPackages(packages, options))

    def with_requirements(
        self,
        file: PathLike,
        index_url: str | None = None,
        extra_index_urls: str | Sequence[str] | None = None,
        pre: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
        extra_args: str | None = None,
        secret_mounts: object = None,
    ) -> Image:
        """The requirements of a ``.txt`` file, with those that it names by `-r` and `-c`."""
        path = Path(file)
        if path.suffix != ".txt":
            raise ValueError(f"a requirements file must end in `.txt`: `{file}`")
        options = pip_options(index_url, extra_index_urls, extra_args, pre=pre)
        refused = secrets_refused("with_requirements", secret_mounts)
        return self._with(*refused, Requirements(path, options))

    def with_uv_project(
        self,
        pyproject_file: PathLike,
        uvlock: PathLike | None = None,
        index_url: str | None = None,
        extra_index_urls: str | Sequence[str] | None = None,
        pre: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
        extra_args: str | None = None,
        secret_mounts: object = None,
        project_install_mode: Literal["dependencies_only", "install_project"] = "dependencies_only",
    ) -> Image:
        """The dependencies of a project, as its lock pins them.

        The lock is ``uvlock``, or the `uv.lock` beside the project; without one
        they are resolved. ``extra_args`` may choose extras and groups.
        """
        options = pip_options(index_url, extra_index_urls, extra_args, pre=pre)
        layers: list[Layer] = [*secrets_refused("with_uv_project", secret_mounts)]
        if project_install_mode == "install_project":
            why = (
                "of `with_uv_project`: the project's own code travels with what is deployed; "
                'write `project_install_mode="dependencies_only"`, and `root_dir` or `include` '
                "for code that is not imported"
            )
            layers.append(Refused("install_project", why))
        elif project_install_mode != "dependencies_only":
            raise ValueError(
                "`project_install_mode` must be 'dependencies_only' or 'install_project', "
                f"not {project_install_mode!r}"
            )
        lock = Path(uvlock) if uvlock else None
        return self._with(*layers, UvProject(Path(pyproject_file), lock, options))

    def with_poetry_project(self, pyproject_file: PathLike, **_options: object) -> Image:
        """A Poetry project. Refused at deploy, which says what to use instead."""
        why = (
            "which is not supported: write its lock down with `poetry export -o requirements.txt` "
            "and use `with_requirements`"
        )
        return self._with(Refused("with_poetry_project", f"({pyproject_file}), {why}"))

    def with_pixi_project(self, pyproject_file: PathLike, **_options: object) -> Image:
        """A pixi project. Refused at deploy, which says what to use instead."""
        why = (
            "which is not supported: name its PyPI packages with `with_pip_packages`; what comes "
            "from conda has to be on the node"
        )
        return self._with(Refused("with_pixi_project", f"({pyproject_file}), {why}"))

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Image:
        """Environment variables; the environment's own win over them."""
        return self._with(EnvVars(tuple((str(k), str(v)) for k, v in env_vars.items())))

    def with_workdir(self, workdir: str) -> Image:
        """The working directory: a folder of the code, or an absolute one of the node."""
        return self._with(WorkDir(workdir))

    def with_source_file(self, src: PathLike, dst: str = ".") -> Image:
        """A file beside the code: at ``dst``, or in it where that ends with `/` or is `.`."""
        return self._with(Source(Path(src), dst))

    def with_source_folder(
        self,
        src: PathLike,
        dst: str = ".",
        copy_contents_only: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
    ) -> Image:
        """A folder beside the code, in ``dst``; or its contents alone."""
        return self._with(Source(Path(src), dst, copy_contents_only))

    def with_apt_packages(self, *packages: str, secret_mounts: object = None) -> Image:
        """System packages. Refused at deploy until a container driver exists."""
        del secret_mounts
        return self._with(needs_container("with_apt_packages", " ".join(packages)))

    def with_commands(self, commands: Sequence[str], secret_mounts: object = None) -> Image:
        """Shell commands. Refused at deploy until a container driver exists."""
        del secret_mounts
        return self._with(needs_container("with_commands", "; ".join(commands)))

    def with_dockerignore(self, path: PathLike) -> Image:
        """Means nothing here: nothing is copied into an image."""
        del path
        return self

    def with_code_bundle(self, copy_style: str = "loaded_modules", dst: str = ".") -> Image:
        """Code travels as a bundle of its own; how is said at `deploy`, not here."""
        asked = {
            "with_code_bundle(copy_style=…)": (
                copy_style != "loaded_modules",
                "say `copy_style` to `deploy` or `run`",
            ),
            "with_code_bundle(dst=…)": (dst != ".", "the code is where its process runs"),
        }
        return self._with(*_unused(asked))

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
        return changed._with(addl_layer) if addl_layer else changed

    @property
    def uri(self) -> str:
        """A name that changes with the content."""
        digest = hashlib.sha256(repr((self.python_version, self.layers)).encode()).hexdigest()
        return f"{self.name or 'callmesh'}:{digest[:16]}"

    def validate(self) -> None:
        """Raise `ValueError` where a file that a layer names is missing."""
        for layer in self.layers:
            if isinstance(layer, Requirements | UvScript | UvProject | Source):
                named = [layer.path]
                if isinstance(layer, UvProject) and layer.uvlock:
                    named.append(layer.uvlock)
                for path in named:
                    if not path.exists():
                        raise ValueError(f"the image names `{path}`, which does not exist")

    def _with(self, *layers: Layer) -> Image:
        if not self.extendable:
            raise ValueError(
                f"image `{self.uri}` cannot take further layers: "
                "call `.clone(extendable=True, name=…)` first"
            )
        return replace(self, layers=(*self.layers, *layers))


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
    if version < OLDEST_PYTHON or version[0] != sys.version_info[0]:
        raise ValueError(
            f"`python_version` {version[0]}.{version[1]} is not one that callmesh runs: "
            "3.11 is the oldest"
        )
    return (version[0], version[1])


_NOTHING_PUSHED = "nothing is pushed to a registry"


def _unused(asked: Mapping[str, tuple[object, str]]) -> tuple[Unused, ...]:
    return tuple(Unused(what, why) for what, (value, why) in asked.items() if value)
