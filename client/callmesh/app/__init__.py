"""Apps: long-running services, declared.

`AppEnvironment` for a program or a server function,
`callmesh.app.extras.FastAPIAppEnvironment` for a FastAPI app.
"""

from callmesh.app.context import AppContext, ctx
from callmesh.app.environment import AppEnvironment
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

__all__ = [
    "AppContext",
    "AppEndpoint",
    "AppEnvironment",
    "Domain",
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
