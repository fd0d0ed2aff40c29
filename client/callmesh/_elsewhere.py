"""Errors of Flyte's for what callmesh does not do.

They exist so that code which names them in an `except` runs; nothing raises
them here.
"""

from __future__ import annotations

from callmesh.errors import BaseRuntimeError, RuntimeSystemError, RuntimeUserError


class _NamedUserError(RuntimeUserError):
    """A user error whose code is its own class name."""

    def __init__(self, message: str = "", worker: str | None = None) -> None:
        super().__init__(type(self).__name__, message, worker)


class UnionRpcError(RuntimeSystemError):
    """Of Union's server."""


class GPUFaultError(BaseRuntimeError):
    """A GPU failed."""


class GPUFaultUserError(GPUFaultError):
    """A GPU failed by what the code did."""


class GPUFaultSystemError(GPUFaultError):
    """A GPU failed by itself."""


class PrimaryContainerNotFoundError(RuntimeUserError):
    """Of Kubernetes: callmesh runs processes."""


class ImagePullBackOffError(RuntimeUserError):
    """Of Kubernetes: callmesh builds environments."""


class ConditionTimedoutError(_NamedUserError):
    """Of conditions, which callmesh does not have."""


class ConditionFailedError(_NamedUserError):
    """Of conditions, which callmesh does not have."""


class LogsNotYetAvailableError(BaseRuntimeError):
    """Logs are there from the first line on."""


class SlowDownError(_NamedUserError):
    """The mesh queues instead."""


class ResourceExhaustedError(SlowDownError):
    """The mesh queues instead; what is over a limit is an `ExhaustedError`."""


class OnlyAsyncIOSupportedError(_NamedUserError):
    """Blocking input and output works in every task."""


class LineageDeclarationError(_NamedUserError):
    """Of artifacts, which callmesh does not have."""


class MaterializeError(_NamedUserError):
    """Of artifacts, which callmesh does not have."""


class AppleSiliconError(_NamedUserError):
    """Nodes run Linux."""
