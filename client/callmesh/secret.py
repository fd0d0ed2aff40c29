"""A secret that a workload asks for, by name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from callmesh_wire import names

MOUNT = "/etc/flyte/secrets"
FOLDER_VARIABLE = "CALLMESH_SECRETS_DIR"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of the project, given as an environment variable or as a file.

    The variable is ``as_env_var``, or the upper-cased ``GROUP_KEY`` where
    neither it nor ``mount`` is said. ``mount`` is `/etc/flyte/secrets`, or a
    file below it; that folder cannot be made without root, so `secret_file`
    says where the file is. Raises `ValueError` for malformed names.
    """

    key: str
    group: str | None = None
    mount: str | Path | None = None
    as_env_var: str | None = None

    def __post_init__(self) -> None:
        names.check_secret(self.key)
        if self.group:
            names.check_secret(self.group)
        if self.mount is not None:
            mount = Path(self.mount)
            if not mount.is_relative_to(MOUNT) or ".." in mount.parts:
                raise ValueError(
                    f"`mount` of secret `{self.key}` must be `{MOUNT}` or a file below it, not "
                    f"`{mount}`"
                )
            object.__setattr__(self, "mount", str(mount))
        if self.as_env_var is not None and not _VARIABLE.match(self.as_env_var):
            raise ValueError(
                f"`as_env_var` of secret `{self.key}` must be upper-case letters, digits and `_`, "
                f"not {self.as_env_var!r}"
            )

    @property
    def file(self) -> str:
        """The absolute path that its file stands for, or "" for one that is not mounted."""
        if self.mount is None:
            return ""
        if str(self.mount) != MOUNT:
            return str(self.mount)
        return "/".join([MOUNT, *([self.group] if self.group else []), self.key])

    @property
    def variable(self) -> str:
        """The environment variable that carries it, or "" for one that is only mounted."""
        if self.as_env_var:
            return self.as_env_var
        if self.mount:
            return ""
        parts = [self.group, self.key] if self.group else [self.key]
        return "_".join(parts).upper().replace("-", "_").replace(".", "_")


SecretRequest = str | Secret | list[str | Secret]


def secrets_of(request: SecretRequest | None) -> tuple[Secret, ...]:
    """A declaration's secrets as a tuple. Raises `TypeError` for other things."""
    if request is None:
        return ()
    many = request if isinstance(request, list | tuple) else [request]
    found = []
    for each in many:
        if not isinstance(each, str | Secret):
            raise TypeError(f"`secrets` must be names or `Secret`s, not {each!r}")
        found.append(Secret(each) if isinstance(each, str) else each)
    return tuple(found)


def secret_file(key: str, group: str | None = None) -> Path:
    """The file of a mounted secret, in the app or task that asked for it.

    For one that is mounted below the folder by a name of its own, ``key`` is
    that name. Raises `FileNotFoundError` where there is none.
    """
    name = f"{group}/{key}" if group else key
    folder = os.environ.get(FOLDER_VARIABLE)
    path = Path(folder, name) if folder else None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"secret `{name}` is not mounted here: ask for it with "
            f'`secrets=[Secret("{key}", mount="{MOUNT}")]`'
        )
    return path
