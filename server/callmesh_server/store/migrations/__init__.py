"""Alembic's scripts, run by `callmesh_server.store.database` at start."""
