"""Flyte's `connectors`: not supported. Importing it says so."""

raise ImportError(
    "`callmesh.connectors` (connectors to other services) is not supported: "
    "call the service from a task"
)
