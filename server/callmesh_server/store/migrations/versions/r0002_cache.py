"""Results by what they are kept under.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of cached results."""
    op.create_table(
        "cached",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
    )
