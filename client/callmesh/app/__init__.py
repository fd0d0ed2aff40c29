"""Apps: long-running services, declared.

`AppEnvironment` for a program or a server function,
`callmesh.app.extras.FastAPIAppEnvironment` for a FastAPI app.
"""

from callmesh._flyte_only import refuse
from callmesh.app.context import AppContext, ctx
from callmesh.app.environment import AppEnvironment
from callmesh.app.grpc import GrpcAppEnvironment
from callmesh.app.parameters import (
    AppEndpoint,
    Input,
    Parameter,
    RunOutput,
    get_input,
    get_parameter,
)
from callmesh.app.types import Domain, Link, Port, Scaling, Subdomain, Timeouts
from callmesh.image import Image


def __getattr__(name: str) -> object:
    if name == "DeployedAppEnvironment":
        from callmesh.deploy import DeployedAppEnvironment

        return DeployedAppEnvironment
    refuse(__name__, name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


__all__ = [
    "AppContext",
    "AppEndpoint",
    "AppEnvironment",
    "Domain",
    "GrpcAppEnvironment",
    "Image",
    "Input",
    "Link",
    "Parameter",
    "Port",
    "RunOutput",
    "Scaling",
    "Subdomain",
    "Timeouts",
    "ctx",
    "get_input",
    "get_parameter",
]
