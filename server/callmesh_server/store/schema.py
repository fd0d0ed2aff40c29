"""The tables. Each keeps indexed columns beside a serialised protobuf message.

`metadata` is the schema of `HEAD`; the migrations lead to it from every older
one (a test compares them).
"""

from __future__ import annotations

import sqlalchemy as sa

# The newest revision in `migrations/versions`.
HEAD = "0002"

metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

apps = sa.Table(
    "apps",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("app", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

# released_at is 0 for a port in use; a tombstone's port is given again last.
mesh_ports = sa.Table(
    "mesh_ports",
    metadata,
    sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("mesh_name", sa.Text, nullable=False, index=True),
    sa.Column("released_at", sa.Float, nullable=False),
)

# Instances that the mesh does not run, with their lease in seconds.
external_instances = sa.Table(
    "external_instances",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, primary_key=True),
    sa.Column("lease", sa.Float, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

# `number` orders versions by deployment.
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("ephemeral", sa.Boolean, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("project", "domain", "name", "version"),
    sa.Index("tasks_by_version", "project", "domain", "version"),
    sqlite_autoincrement=True,
)

# `number` orders runs for paging. `record` is without inputs and outputs, and
# stands before them, so that a list reads neither. `ended` is 0 or 1.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("request_id", sa.Text, nullable=True, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("phase", sa.Integer, nullable=False),
    sa.Column("ended", sa.Integer, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("inputs", sa.LargeBinary, nullable=False),
    sa.Column("outputs", sa.LargeBinary, nullable=False),
    sa.Index("runs_by_scope", "project", "domain", "number"),
    sa.Index("runs_by_task", "project", "domain", "task", "number"),
    sa.Index("runs_by_parent", "parent", "number", sqlite_where=sa.text("parent != ''")),
    sa.Index("runs_active", "number", sqlite_where=sa.text("ended = 0")),
    sqlite_autoincrement=True,
)

# The run whose result is kept under a key: see `core.caching`.
cached = sa.Table(
    "cached",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
)

# Answers of mutations, kept for a day.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("answer", sa.LargeBinary, nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
