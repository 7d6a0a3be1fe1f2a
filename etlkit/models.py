"""The tables of the metadata database.

======================  ================================================================================
`dag`                   one row per DAG that was ever seen: paused or not, where its file is
`dag_run`               one row per run of a DAG; (dag_id, logical_date) and (dag_id, run_id) are unique
`task_instance`         one row per task of a run (and map index): its state and its latest try
`task_instance_history` one row per earlier try
`xcom`                  values between tasks, as JSON text
`pool`                  named numbers of slots
`job`                   one row per scheduler that shares the database with others, and when it was last alive
`backfill`              one row per backfill, and in `backfill_dag_run` what it does with each date
`variable`              settings for tasks; their values are encrypted
`connection`            outside systems and how to reach them; passwords and extras are encrypted
`asset`                 data that tasks make and DAGs wait for; (name, uri) is unique
`asset_event`           one row per time that an asset was made, and by which task instance
`import_error`          DAG files that do not load
`decision`              every state change a listener wrote down, with its reason
`alembic_version`       which version of these tables the file holds
======================  ================================================================================

A DAG that is scheduled on assets has a row in `dag_schedule_asset_reference` for each of them. An event of one puts the
DAG into `asset_dag_run_queue`, where it stays until a run is made; which events that run is about is in
`dagrun_asset_event`.

Instants are UTC: `TIMESTAMP WITH TIME ZONE` in PostgreSQL, ISO text in SQLite (`2013-01-01 00:00:00+00:00`), which
sorts as time does. Names follow Airflow's tables where it has them.
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = "0002"
"""Goes up with every change to these tables."""


TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text, which every database sorts alike: by code points."""

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Text(), "sqlite")
"""An aware instant: the database's own type where it has one, ISO text where not."""

metadata = sa.MetaData(
    naming_convention={  # so that a later migration can name what it changes
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

dag = sa.Table(
    "dag",
    metadata,
    sa.Column("dag_id", TEXT, primary_key=True),
    sa.Column("is_paused", sa.Boolean, nullable=False),
    sa.Column("fileloc", TEXT),
    sa.Column("schedule", TEXT),
    sa.Column("last_seen", INSTANT),
    # The scheduler that looks after it, where several share the database.
    sa.Column("scheduler_job_id", sa.Integer),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_type", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("hostname", TEXT, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start_date", INSTANT, nullable=False),
    sa.Column("latest_heartbeat", INSTANT, nullable=False),
    sa.Column("end_date", INSTANT),
)

dag_run = sa.Table(
    "dag_run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dag_id", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("run_type", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("logical_date", INSTANT),
    sa.Column("data_interval_start", INSTANT),
    sa.Column("data_interval_end", INSTANT),
    sa.Column("run_after", INSTANT, nullable=False),
    sa.Column("queued_at", INSTANT),
    sa.Column("start_date", INSTANT),
    sa.Column("end_date", INSTANT),
    sa.Column("conf", TEXT, nullable=False, server_default="{}"),
    sa.Column("backfill_id", sa.Integer),
    sa.UniqueConstraint("dag_id", "run_id"),
    sa.UniqueConstraint("dag_id", "logical_date"),
)
sa.Index(
    "idx_dag_run_active",
    dag_run.c.state,
    sqlite_where=sa.text("state IN ('queued', 'running')"),
    postgresql_where=sa.text("state IN ('queued', 'running')"),
)
sa.Index("idx_dag_run_backfill", dag_run.c.backfill_id)
sa.Index("idx_dag_run_run_after", dag_run.c.dag_id, dag_run.c.run_after)

task_instance = sa.Table(
    "task_instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id", ondelete="CASCADE"), nullable=False),
    sa.Column("task_id", TEXT, nullable=False),
    sa.Column("map_index", sa.Integer, nullable=False, server_default="-1"),
    sa.Column("state", TEXT),
    sa.Column("try_number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("pool", TEXT, nullable=False, server_default="default_pool"),
    sa.Column("pool_slots", sa.Integer, nullable=False, server_default="1"),
    sa.Column("queued_at", INSTANT),
    sa.Column("rescheduled_since", INSTANT),
    sa.Column("start_date", INSTANT),
    sa.Column("end_date", INSTANT),
    sa.Column("not_before", INSTANT),
    sa.Column("lost_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("token", TEXT),
    sa.Column("hostname", TEXT),
    sa.Column("pid", sa.Integer),
    sa.Column("last_heartbeat_at", INSTANT),
    sa.Column("skips", TEXT),
    sa.Column("error", TEXT),
    sa.Column("rendered_map_index", TEXT),
    sa.UniqueConstraint("dag_run_id", "task_id", "map_index"),
)

sa.Index(
    "idx_task_instance_active",
    task_instance.c.dag_run_id,
    postgresql_where=sa.text("state IN ('queued', 'running')"),
).ddl_if(dialect="postgresql")  # who has the slots of a pool: schedulers that share a database ask each other's tasks

task_instance_history = sa.Table(
    "task_instance_history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "task_instance_id",
        sa.Integer,
        sa.ForeignKey("task_instance.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("try_number", sa.Integer, nullable=False),
    sa.Column("state", TEXT),
    sa.Column("start_date", INSTANT),
    sa.Column("end_date", INSTANT),
    sa.Column("hostname", TEXT),
    sa.Column("pid", sa.Integer),
    sa.Column("error", TEXT),
)

xcom = sa.Table(
    "xcom",
    metadata,
    sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("task_id", TEXT, primary_key=True),
    sa.Column("map_index", sa.Integer, primary_key=True, server_default="-1"),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
    sa.Column("timestamp", INSTANT),
)

pool = sa.Table(
    "pool",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("description", TEXT),
)

backfill = sa.Table(
    "backfill",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dag_id", TEXT, nullable=False),
    sa.Column("from_date", INSTANT, nullable=False),
    sa.Column("to_date", INSTANT, nullable=False),
    sa.Column("reprocess_behavior", TEXT, nullable=False),
    sa.Column("max_active_runs", sa.Integer, nullable=False),
    sa.Column("is_paused", sa.Boolean, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("completed_at", INSTANT),
)

backfill_dag_run = sa.Table(
    "backfill_dag_run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("backfill_id", sa.Integer, sa.ForeignKey("backfill.id", ondelete="CASCADE"), nullable=False),
    sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id", ondelete="SET NULL"), index=True),
    sa.Column("logical_date", INSTANT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("reason", TEXT),
    sa.Column("sort_ordinal", sa.Integer, nullable=False),
    sa.Index("ix_backfill_dag_run_backfill_id_dag_run_id", "backfill_id", "dag_run_id"),
)

variable = sa.Table(
    "variable",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("val", TEXT, nullable=False),
    sa.Column("description", TEXT),
)

connection = sa.Table(
    "connection",
    metadata,
    sa.Column("conn_id", TEXT, primary_key=True),
    sa.Column("conn_type", TEXT, nullable=False),
    sa.Column("description", TEXT),
    sa.Column("host", TEXT),
    sa.Column("login", TEXT),
    sa.Column("password", TEXT),
    sa.Column("schema", TEXT),
    sa.Column("port", sa.Integer),
    sa.Column("extra", TEXT),
)

asset = sa.Table(
    "asset",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("uri", TEXT, nullable=False),
    sa.Column("group", TEXT, nullable=False),
    sa.Column("extra", TEXT, nullable=False, server_default="{}"),
    sa.UniqueConstraint("name", "uri"),
)

asset_event = sa.Table(
    "asset_event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("asset_id", sa.Integer, sa.ForeignKey("asset.id", ondelete="CASCADE"), nullable=False),
    sa.Column("extra", TEXT, nullable=False, server_default="{}"),
    sa.Column("source_dag_id", TEXT),
    sa.Column("source_task_id", TEXT),
    sa.Column("source_run_id", TEXT),
    sa.Column("source_map_index", sa.Integer),
    sa.Column("timestamp", INSTANT, nullable=False),
    sa.Index("ix_asset_event_asset_id_id", "asset_id", "id"),
)

dag_schedule_asset_reference = sa.Table(
    "dag_schedule_asset_reference",
    metadata,
    sa.Column("dag_id", TEXT, primary_key=True),
    sa.Column("asset_id", sa.Integer, sa.ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True),
    # The newest event that a run of the DAG has been made for, or that it is too late to make one for.
    sa.Column("last_event_id", sa.Integer, nullable=False),
    sa.Index("ix_dag_schedule_asset_reference_asset_id", "asset_id"),
)

asset_dag_run_queue = sa.Table(
    "asset_dag_run_queue",
    metadata,
    sa.Column("asset_id", sa.Integer, sa.ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("target_dag_id", TEXT, primary_key=True),
    sa.Column("created_at", INSTANT, nullable=False),
)

dagrun_asset_event = sa.Table(
    "dagrun_asset_event",
    metadata,
    sa.Column("dag_run_id", sa.Integer, sa.ForeignKey("dag_run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("event_id", sa.Integer, sa.ForeignKey("asset_event.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_dagrun_asset_event_event_id", "event_id"),
)

import_error = sa.Table(
    "import_error",
    metadata,
    sa.Column("filename", TEXT, primary_key=True),
    sa.Column("line", sa.Integer),
    sa.Column("message", TEXT, nullable=False),
    sa.Column("stacktrace", TEXT, nullable=False),
    sa.Column("timestamp", INSTANT, nullable=False),
)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", INSTANT, nullable=False),
    sa.Column("dag_id", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("task_id", TEXT),
    sa.Column("map_index", sa.Integer),
    sa.Column("try_number", sa.Integer),
    sa.Column("old", TEXT),
    sa.Column("new", TEXT),
    sa.Column("reason", TEXT),
)
sa.Index("idx_decision_run", decision.c.dag_id, decision.c.run_id)

alembic_version = sa.Table("alembic_version", metadata, sa.Column("version_num", TEXT, primary_key=True))
