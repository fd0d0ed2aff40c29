"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table of 0.1."""
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    _apps_and_nodes()
    _tasks_and_runs()
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False, index=True),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "secrets",
        *_key("project", "domain", "name"),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def _apps_and_nodes() -> None:
    op.create_table(
        "apps",
        *_key("project", "domain", "name"),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "instances",
        *_key("id"),
        *_texts("project", "domain", "app", "node"),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_table("nodes", *_key("name"), sa.Column("record", sa.LargeBinary, nullable=False))
    op.create_table(
        "mesh_ports",
        sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mesh_name", sa.Text, nullable=False, index=True),
        sa.Column("released_at", sa.Float, nullable=False),
    )
    op.create_table(
        "external_instances",
        *_key("project", "domain", "service", "instance_id"),
        sa.Column("lease", sa.Float, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )


def _tasks_and_runs() -> None:
    op.create_table(
        "tasks",
        sa.Column("number", _NUMBER, primary_key=True),
        *_texts("project", "domain", "name", "version"),
        sa.Column("ephemeral", sa.Boolean, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("project", "domain", "name", "version"),
        sqlite_autoincrement=True,
    )
    op.create_index("tasks_by_version", "tasks", ["project", "domain", "version"])
    op.create_table(
        "runs",
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("request_id", sa.Text, nullable=True, unique=True),
        *_texts("project", "domain", "task"),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer, nullable=False),
        *_texts("parent"),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("inputs", sa.LargeBinary, nullable=False),
        sa.Column("outputs", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_scope", "runs", ["project", "domain", "number"])
    op.create_index("runs_by_task", "runs", ["project", "domain", "task", "number"])
    op.create_index(
        "runs_by_parent", "runs", ["parent", "number"], sqlite_where=sa.text("parent != ''")
    )
    op.create_index("runs_active", "runs", ["number"], sqlite_where=sa.text("ended = 0"))


def _key(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
