"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Create them all."""
    op.create_table(
        "asset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("uri", TEXT, nullable=False),
        sa.Column("group", TEXT, nullable=False),
        sa.Column("extra", TEXT, server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asset")),
        sa.UniqueConstraint("name", "uri", name=op.f("uq_asset_name_uri")),
    )
    op.create_table(
        "backfill",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dag_id", TEXT, nullable=False),
        sa.Column("from_date", INSTANT, nullable=False),
        sa.Column("to_date", INSTANT, nullable=False),
        sa.Column("reprocess_behavior", TEXT, nullable=False),
        sa.Column("max_active_runs", sa.Integer(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("completed_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill")),
    )
    op.create_table(
        "connection",
        sa.Column("conn_id", TEXT, nullable=False),
        sa.Column("conn_type", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("host", TEXT, nullable=True),
        sa.Column("login", TEXT, nullable=True),
        sa.Column("password", TEXT, nullable=True),
        sa.Column("schema", TEXT, nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("extra", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("conn_id", name=op.f("pk_connection")),
    )
    op.create_table(
        "dag",
        sa.Column("dag_id", TEXT, nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("fileloc", TEXT, nullable=True),
        sa.Column("schedule", TEXT, nullable=True),
        sa.Column("last_seen", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("dag_id", name=op.f("pk_dag")),
    )
    op.create_table(
        "dag_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dag_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("run_type", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("logical_date", INSTANT, nullable=True),
        sa.Column("data_interval_start", INSTANT, nullable=True),
        sa.Column("data_interval_end", INSTANT, nullable=True),
        sa.Column("run_after", INSTANT, nullable=False),
        sa.Column("queued_at", INSTANT, nullable=True),
        sa.Column("start_date", INSTANT, nullable=True),
        sa.Column("end_date", INSTANT, nullable=True),
        sa.Column("conf", TEXT, server_default="{}", nullable=False),
        sa.Column("backfill_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dag_run")),
        sa.UniqueConstraint("dag_id", "logical_date", name=op.f("uq_dag_run_dag_id_logical_date")),
        sa.UniqueConstraint("dag_id", "run_id", name=op.f("uq_dag_run_dag_id_run_id")),
    )
    op.create_index(
        "idx_dag_run_active",
        "dag_run",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index("idx_dag_run_backfill", "dag_run", ["backfill_id"], unique=False)
    op.create_index("idx_dag_run_run_after", "dag_run", ["dag_id", "run_after"], unique=False)
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("dag_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("task_id", TEXT, nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("old", TEXT, nullable=True),
        sa.Column("new", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index("idx_decision_run", "decision", ["dag_id", "run_id"], unique=False)
    op.create_table(
        "import_error",
        sa.Column("filename", TEXT, nullable=False),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("stacktrace", TEXT, nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_import_error")),
    )
    op.create_table(
        "pool",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pool")),
    )
    op.create_table(
        "variable",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("val", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_variable")),
    )
    op.create_table(
        "asset_dag_run_queue",
        sa.Column("asset_id", sa.Integer(), nullable=False),
        sa.Column("target_dag_id", TEXT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["asset_id"], ["asset.id"], name=op.f("fk_asset_dag_run_queue_asset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("asset_id", "target_dag_id", name=op.f("pk_asset_dag_run_queue")),
    )
    op.create_table(
        "asset_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("asset_id", sa.Integer(), nullable=False),
        sa.Column("extra", TEXT, server_default="{}", nullable=False),
        sa.Column("source_dag_id", TEXT, nullable=True),
        sa.Column("source_task_id", TEXT, nullable=True),
        sa.Column("source_run_id", TEXT, nullable=True),
        sa.Column("source_map_index", sa.Integer(), nullable=True),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.id"], name=op.f("fk_asset_event_asset_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asset_event")),
    )
    op.create_index("ix_asset_event_asset_id_id", "asset_event", ["asset_id", "id"], unique=False)
    op.create_table(
        "dag_schedule_asset_reference",
        sa.Column("dag_id", TEXT, nullable=False),
        sa.Column("asset_id", sa.Integer(), nullable=False),
        sa.Column("last_event_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["asset_id"], ["asset.id"], name=op.f("fk_dag_schedule_asset_reference_asset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dag_id", "asset_id", name=op.f("pk_dag_schedule_asset_reference")),
    )
    op.create_index(
        "ix_dag_schedule_asset_reference_asset_id", "dag_schedule_asset_reference", ["asset_id"], unique=False
    )
    op.create_table(
        "dagrun_asset_event",
        sa.Column("dag_run_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dag_run_id"], ["dag_run.id"], name=op.f("fk_dagrun_asset_event_dag_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["asset_event.id"], name=op.f("fk_dagrun_asset_event_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dag_run_id", "event_id", name=op.f("pk_dagrun_asset_event")),
    )
    op.create_index("ix_dagrun_asset_event_event_id", "dagrun_asset_event", ["event_id"], unique=False)
    op.create_table(
        "backfill_dag_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backfill_id", sa.Integer(), nullable=False),
        sa.Column("dag_run_id", sa.Integer(), nullable=True),
        sa.Column("logical_date", INSTANT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("sort_ordinal", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backfill_id"], ["backfill.id"], name=op.f("fk_backfill_dag_run_backfill_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["dag_run_id"], ["dag_run.id"], name=op.f("fk_backfill_dag_run_dag_run_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill_dag_run")),
    )
    op.create_index(
        "ix_backfill_dag_run_backfill_id_dag_run_id", "backfill_dag_run", ["backfill_id", "dag_run_id"], unique=False
    )
    op.create_index(op.f("ix_backfill_dag_run_dag_run_id"), "backfill_dag_run", ["dag_run_id"], unique=False)
    op.create_table(
        "task_instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dag_run_id", sa.Integer(), nullable=False),
        sa.Column("task_id", TEXT, nullable=False),
        sa.Column("map_index", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("state", TEXT, nullable=True),
        sa.Column("try_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pool", TEXT, server_default="default_pool", nullable=False),
        sa.Column("pool_slots", sa.Integer(), server_default="1", nullable=False),
        sa.Column("queued_at", INSTANT, nullable=True),
        sa.Column("rescheduled_since", INSTANT, nullable=True),
        sa.Column("start_date", INSTANT, nullable=True),
        sa.Column("end_date", INSTANT, nullable=True),
        sa.Column("not_before", INSTANT, nullable=True),
        sa.Column("lost_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", TEXT, nullable=True),
        sa.Column("hostname", TEXT, nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("skips", TEXT, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("rendered_map_index", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["dag_run_id"], ["dag_run.id"], name=op.f("fk_task_instance_dag_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_instance")),
        sa.UniqueConstraint(
            "dag_run_id", "task_id", "map_index", name=op.f("uq_task_instance_dag_run_id_task_id_map_index")
        ),
    )
    op.create_table(
        "xcom",
        sa.Column("dag_run_id", sa.Integer(), nullable=False),
        sa.Column("task_id", TEXT, nullable=False),
        sa.Column("map_index", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("timestamp", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["dag_run_id"], ["dag_run.id"], name=op.f("fk_xcom_dag_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dag_run_id", "task_id", "map_index", "key", name=op.f("pk_xcom")),
    )
    op.create_table(
        "task_instance_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_instance_id", sa.Integer(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("state", TEXT, nullable=True),
        sa.Column("start_date", INSTANT, nullable=True),
        sa.Column("end_date", INSTANT, nullable=True),
        sa.Column("hostname", TEXT, nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["task_instance_id"],
            ["task_instance.id"],
            name=op.f("fk_task_instance_history_task_instance_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_instance_history")),
    )
    op.create_index(
        op.f("ix_task_instance_history_task_instance_id"), "task_instance_history", ["task_instance_id"], unique=False
    )
