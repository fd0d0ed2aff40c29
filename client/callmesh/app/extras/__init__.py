"""Environments for particular frameworks, and what goes with them."""

from callmesh.app.extras.fastapi import FastAPIAppEnvironment
from callmesh.app.extras.passthrough import FastAPIPassthroughAuthMiddleware
from callmesh.app.extras.webhook import FlyteWebhookAppEnvironment

__all__ = [
    "FastAPIAppEnvironment",
    "FastAPIPassthroughAuthMiddleware",
    "FlyteWebhookAppEnvironment",
]
