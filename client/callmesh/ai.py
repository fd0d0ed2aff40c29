"""Flyte's `ai`: not supported. Importing it says so."""

raise ImportError(
    "`callmesh.ai` (MCP servers, chat and agents) is not supported: declare the server as an "
    "`AppEnvironment` with `@env.server`, or its ASGI app as a `FastAPIAppEnvironment`"
)
