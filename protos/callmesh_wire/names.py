"""Resource names: what they look like, and how they are parsed and formatted.

An app or a task environment lives in a *project* and a *domain*. Its *mesh
name* is what callers use where there is no room for a scope: in ``xds:///``,
at the ingress and in Consul.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_PROJECT = "default"
DEFAULT_DOMAIN = "development"
MAX_LENGTH = 63
# What Kubernetes allows, so that a node may have the name that it has there.
MAX_NODE_LENGTH = 253

_PART = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_ENVIRONMENT = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*\Z")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RUN = re.compile(r"[a-z0-9]+(?:[_-]+[a-z0-9]+)*\Z")
_NODE = re.compile(r"[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*\Z")
_ZONE = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]+(?:[./_-]+[A-Za-z0-9]+)*\Z")
_SECRET = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*\Z")


class NameProblem(ValueError):
    """A name that is not of its form. ``str()`` is a sentence for the user."""


@dataclass(frozen=True, slots=True, order=True)
class AppName:
    """The full name of an app or of a registered service."""

    project: str
    domain: str
    name: str

    @property
    def mesh_name(self) -> str:
        """``name`` in the default scope, ``name--domain--project`` elsewhere."""
        if self.project == DEFAULT_PROJECT and self.domain == DEFAULT_DOMAIN:
            return self.name
        return f"{self.name}--{self.domain}--{self.project}"

    @classmethod
    def from_mesh_name(cls, text: str) -> AppName:
        """Parse a mesh name. Raises `NameProblem` for anything else."""
        parts = text.split("--")
        if len(parts) == 1:
            parts += [DEFAULT_DOMAIN, DEFAULT_PROJECT]
        if len(parts) != 3:
            raise NameProblem(
                f"`{text}` is not a service name: must be `<app>` or `<app>--<domain>--<project>`"
            )
        name, domain, project = parts
        return cls(check_scope(project, "project"), check_scope(domain, "domain"), check_app(name))

    def __str__(self) -> str:
        return f"{self.name}.{self.domain}.{self.project}"


def check_app(name: str) -> str:
    """Return ``name`` if an app may be called so; raise `NameProblem` otherwise."""
    return _check(name, _PART, "app name", "lower-case letters, digits and single `-` between them")


def check_scope(name: str, what: str) -> str:
    """Return a project's or a domain's name if it is one. ``what`` names the field."""
    return _check(name, _PART, what, "lower-case letters, digits and single `-` between them")


def check_environment(name: str) -> str:
    """Return ``name`` if a task environment may be called so."""
    return _check(
        name,
        _ENVIRONMENT,
        "environment name",
        "snake_case or kebab-case: lower-case letters, digits, and single `_` or `-` between them",
    )


def check_run(name: str) -> str:
    """Return ``name`` if a run may be called so."""
    return _check(name, _RUN, "run name", "lower-case letters, digits, `-` and `_`")


def check_secret(name: str) -> str:
    """Return ``name`` if a secret may be called so."""
    return _check(name, _SECRET, "secret name", "letters, digits, and single `.`, `_` or `-`")


def check_node(name: str) -> str:
    """Return ``name`` if a node may be called so."""
    allowed = "lower-case letters, digits, and `-` and `.` between them"
    return _check(name, _NODE, "node name", allowed, MAX_NODE_LENGTH)


def check_zone(name: str) -> str:
    """Return ``name`` if a zone may be called so."""
    return _check(name, _ZONE, "zone", "letters, digits, and `-`, `.` and `_` between them")


def check_label(key: str, value: str) -> None:
    """Raise `NameProblem` for what is no label of a node. A value may be empty."""
    allowed = "letters, digits, and `-`, `.` and `_` between them"
    _check(key, _LABEL_KEY, "label key", f"{allowed}, or `/`")
    if value:
        _check(value, _ZONE, f"value of label `{key}`,", allowed)


def task_name(environment: str, function: str) -> str:
    """The full name of a task. Raises `NameProblem` if either part is malformed."""
    check_environment(environment)
    _check(function, _FUNCTION, "function name", "a Python identifier")
    return f"{environment}.{function}"


def _check(
    name: str, pattern: re.Pattern[str], what: str, allowed: str, longest: int = MAX_LENGTH
) -> str:
    if len(name) > longest:
        raise NameProblem(
            f"{what} `{name[:20]}…` has {len(name)} characters: must be at most {longest}"
        )
    if not pattern.match(name):
        raise NameProblem(f"{what} `{name[:longest]}` must be {allowed}")
    return name
