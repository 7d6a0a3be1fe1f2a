"""Attempts in other processes show that they are alive, and several schedulers share a database."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Heartbeats of attempts, schedulers as rows of `job`, and which of them looks after a DAG."""
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_type", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("hostname", TEXT, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("start_date", INSTANT, nullable=False),
        sa.Column("latest_heartbeat", INSTANT, nullable=False),
        sa.Column("end_date", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.add_column("dag", sa.Column("scheduler_job_id", sa.Integer(), nullable=True))
    op.add_column("task_instance", sa.Column("last_heartbeat_at", INSTANT, nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "idx_task_instance_active",
            "task_instance",
            ["dag_run_id"],
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        )
