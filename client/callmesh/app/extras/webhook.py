"""An app that puts the mesh's tasks, runs and apps behind a REST interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from callmesh.app.extras.fastapi import FastAPIAppEnvironment
from callmesh.image import Image

WebhookEndpoint = Literal[
    "health",
    "me",
    "run_task",
    "get_task",
    "get_run",
    "get_run_io",
    "abort_run",
    "get_app",
    "activate_app",
    "deactivate_app",
    "call_app",
    "activate_trigger",
    "deactivate_trigger",
    "build_image",
    "prefetch_hf_model",
    "get_prefetch_hf_model",
    "get_prefetch_hf_model_io",
    "abort_prefetch_hf_model",
]
WebhookEndpointGroup = Literal["all", "core", "task", "run", "app", "trigger", "build", "prefetch"]
ENDPOINTS: tuple[WebhookEndpoint, ...] = get_args(WebhookEndpoint)
GROUPS: dict[WebhookEndpointGroup, tuple[WebhookEndpoint, ...]] = {
    "all": ENDPOINTS,
    "core": ("health", "me"),
    "task": ("run_task", "get_task"),
    "run": ("get_run", "get_run_io", "abort_run"),
    "app": ("get_app", "activate_app", "deactivate_app", "call_app"),
    "trigger": ("activate_trigger", "deactivate_trigger"),
    "build": ("build_image",),
    "prefetch": (
        "prefetch_hf_model",
        "get_prefetch_hf_model",
        "get_prefetch_hf_model_io",
        "abort_prefetch_hf_model",
    ),
}


def _image() -> Image:
    return Image.from_debian_base().with_pip_packages("fastapi", "uvicorn")


@dataclass(eq=False, kw_only=True)
class FlyteWebhookAppEnvironment(FastAPIAppEnvironment):
    """A ready-made app that runs tasks, shows and aborts runs, and manages and calls apps.

    Every request but ``/health`` needs credentials, and acts with them: see
    `FastAPIPassthroughAuthMiddleware`. ``endpoint_groups`` and ``endpoints``
    choose what it offers, together; all of it without either. With
    ``task_allowlist`` only these tasks and their runs are reached, with
    ``app_allowlist`` only these apps: "domain/project/name", "project/name", or
    "name" for every project and domain. Triggers, image builds and prefetching
    are not supported: those endpoints answer 501. Raises `ValueError` for names
    that it does not know.
    """

    app: Any = field(default=None, init=False)
    type: str | None = "FlyteWebhookApp"
    image: Image | str | None = field(default_factory=_image)
    title: str | None = None
    endpoint_groups: Sequence[WebhookEndpointGroup] | None = None
    endpoints: Sequence[WebhookEndpoint] | None = None
    task_allowlist: Sequence[str] | None = None
    app_allowlist: Sequence[str] | None = None
    trigger_allowlist: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for option in ("task_allowlist", "app_allowlist", "trigger_allowlist"):
            value = getattr(self, option)
            if value is not None and (
                isinstance(value, str) or not all(isinstance(each, str) for each in value)
            ):
                raise TypeError(f"`{option}` of `{self.name}` must be a list of names")
        enabled = self.enabled_endpoints
        from callmesh.app.extras._webhook_app import make_app

        self.app = make_app(self, enabled)
        super().__post_init__()

    @property
    def enabled_endpoints(self) -> tuple[WebhookEndpoint, ...]:
        """What it offers. Raises `ValueError` for unknown names."""
        if self.endpoint_groups is None and self.endpoints is None:
            return ENDPOINTS
        groups, single = self.endpoint_groups or (), self.endpoints or ()
        _check("endpoint_groups", self.name, groups, tuple(GROUPS))
        _check("endpoints", self.name, single, ENDPOINTS)
        chosen = {*single, *(each for group in groups for each in GROUPS[group])}
        return tuple(each for each in ENDPOINTS if each in chosen)

    def allows_task(self, domain: str, project: str, name: str) -> bool:
        """The task is on the list by this name, or there is none."""
        return self.task_allowlist is None or name in names_in(self.task_allowlist, domain, project)

    def allows_app(self, domain: str, project: str, name: str) -> bool:
        """The app is on the list, or there is none."""
        return self.app_allowlist is None or name in names_in(self.app_allowlist, domain, project)


def names_in(allowlist: Sequence[str], domain: str, project: str) -> list[str]:
    """The names on an allow list that stand for something of a domain and project."""
    scope = [domain, project]
    entries = [each.split("/") for each in allowlist]
    return [name for *said, name in entries if said == scope[len(scope) - len(said) :]]


def _check(option: str, name: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str):
        raise TypeError(f"`{option}` of `{name}` must be a list, not a string")
    for each in given:
        if each not in known:
            listed = ", ".join(f"`{one}`" for one in known)
            raise ValueError(f"`{option}` of `{name}` has `{each}`: must be of {listed}")
