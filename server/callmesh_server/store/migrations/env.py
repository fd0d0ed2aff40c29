"""Alembic's entry point: migrates over the connection that it is handed."""

from __future__ import annotations

from alembic import context

from callmesh_server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
