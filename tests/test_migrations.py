"""Migrations: both ways to the tables lead to the same ones, and what they hold survives."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from textwrap import dedent

import pytest
import sqlalchemy as sa

from etlkit import models
from etlkit.database import make_engine, parse_url
from etlkit.errors import MetadataError
from etlkit.migrations import FOLDER, migrate
from etlkit.runs import trigger_run
from etlkit.store import Store
from tests.engine import START, make_dag
from tests.migrations import difference, take_all
from tests.servers import postgres

NEXT = dedent(
    """
    import sqlalchemy as sa
    from alembic import op

    revision, down_revision = "0003", "0002"


    def upgrade():
        op.add_column("dag", sa.Column("owner", sa.Text, nullable=False, server_default="anna"))
        with op.batch_alter_table("dag_run") as table:  # SQLite copies the table, and deletes the old one
            table.alter_column("run_type", new_column_name="kind")
    """
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/etl.db"
    server = postgres()
    return server.url(server.create_database("migrations"))


@pytest.fixture
def connect():
    """Opens a database as it is, without a look at its tables."""
    with contextlib.ExitStack() as opened:

        def connect_to(url):
            engine = make_engine(parse_url(url))
            opened.callback(engine.dispose)
            return opened.enter_context(engine.connect())

        yield connect_to


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """A later etlkit: the folder of its revisions, which are one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "v0003.py").write_text(NEXT)
    monkeypatch.setattr(models, "SCHEMA_VERSION", "0003")
    return folder


def described(connection):
    """All that a database says of its tables."""
    inspector = sa.inspect(connection)
    asked = ("get_columns", "get_pk_constraint", "get_foreign_keys", "get_unique_constraints", "get_indexes")
    return {
        table: [_plain(getattr(inspector, question)(table)) for question in asked]
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _plain(answer):
    """The same without the order of columns and constraints, and with texts in the place of types and clauses."""
    if isinstance(answer, dict):
        return str(sorted((key, _plain(value)) for key, value in answer.items()))
    if isinstance(answer, list):
        plain = [_plain(value) for value in answer]
        return sorted(plain) if any(isinstance(value, dict) for value in answer) else plain
    return str(answer)


def make_old(url):
    """A database of this version with a run in it; what it holds."""
    store = Store(url)
    trigger_run(store, make_dag(edges="a >> b"), now=START)
    held = contents(store)
    store.close()
    return held


def contents(store):
    return (
        store.run_sql("SELECT run_id, state, logical_date FROM dag_run").fetchall(),
        store.run_sql("SELECT task_id, state, pool FROM task_instance ORDER BY id").fetchall(),
        store.pools(),
    )


def test_the_migrations_lead_to_the_tables_of_the_models(url, connect):
    connection = connect(url)
    assert take_all(connection)[-1] == models.SCHEMA_VERSION
    code = [line.strip() for line in difference(connection).splitlines() if not line.strip().startswith("#")]
    assert code == ["pass"]
    migrated = described(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    else:
        connection = connect(f"{url}.new")
    models.metadata.create_all(connection)
    assert described(connection) == migrated


def test_a_new_database_needs_no_migration(url):
    assert migrate(url) == (None, models.SCHEMA_VERSION)
    assert migrate(url) == (models.SCHEMA_VERSION, models.SCHEMA_VERSION)
    store = Store(url)
    assert store.pools() == {"default_pool": 128}
    store.close()


def test_an_older_database_keeps_what_it_holds(url, next_version):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        held = make_old(url)
    with pytest.raises(MetadataError, match=r"have version 0002, this etlkit needs 0003; .*: etlkit db migrate"):
        Store(url)
    assert migrate(url, folder=next_version) == ("0002", "0003")
    assert migrate(url, folder=next_version) == ("0003", "0003")
    store = Store(url)
    assert contents(store) == held
    assert store.run_sql("SELECT kind FROM dag_run").fetchall() == [("manual",)]
    store.run_sql("DELETE FROM dag_run")
    assert contents(store)[:2] == ([], [])  # what refers to a run still goes with it
    store.close()


def test_a_step_that_fails_undoes_all_of_them(url, next_version):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        held = make_old(url)
        (next_version / "versions" / "v0003.py").write_text(NEXT + "    op.drop_table('nowhere')\n")
        patch.setattr(models, "SCHEMA_VERSION", "0003")
        with pytest.raises(MetadataError, match="nowhere"):
            migrate(url, folder=next_version)
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        store = Store(url)
        assert contents(store) == held
        store.close()


def test_steps_that_lose_what_rows_refer_to_are_undone(tmp_path, next_version):
    url = f"sqlite:///{tmp_path}/etl.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        held = make_old(url)
        (next_version / "versions" / "v0003.py").write_text(NEXT + "    op.execute('DELETE FROM dag_run')\n")
        patch.setattr(models, "SCHEMA_VERSION", "0003")
        with pytest.raises(MetadataError, match="rows of task_instance refer to nothing"):
            migrate(url, folder=next_version)
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        store = Store(url)
        assert contents(store) == held
        store.close()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("9999", "have version 9999, this etlkit knows up to 0002; update etlkit"),
        ("1f2e3d4c", "have version 1f2e3d4c, this etlkit knows up to 0002"),  # such as Airflow's
        ("0000", "no etlkit made tables of version 0000"),
    ],
)
def test_tables_of_another_version_are_refused_and_left_alone(url, version, message):
    make_old(url)
    store = Store(url)
    store.run_sql("UPDATE alembic_version SET version_num = :version", {"version": version})
    held = contents(store)
    with pytest.raises(MetadataError, match=message):
        migrate(url)
    assert contents(store) == held
    store.close()


def test_tables_of_another_program_are_left_alone(url, connect):
    connection = connect(url)
    connection.exec_driver_sql("CREATE TABLE dag (name TEXT)")
    connection.exec_driver_sql("CREATE TABLE other (name TEXT)")
    for use in (Store, migrate):
        with pytest.raises(MetadataError, match=r"has tables of another program \(dag.*\); use another database"):
            use(url)
    assert set(sa.inspect(connection).get_table_names()) == {"dag", "other"}


def test_several_processes_may_migrate_at_the_same_moment(url, next_version):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "SCHEMA_VERSION", "0002")
        held = make_old(url)
    script = """if True:
        import sys
        from pathlib import Path
        from etlkit import models
        from etlkit.migrations import migrate
        models.SCHEMA_VERSION = "0003"
        sys.stdin.read()
        print(migrate(sys.argv[1], folder=Path(sys.argv[2])).after)
    """
    command = [sys.executable, "-c", script, url, str(next_version)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    for child in children:
        child.stdin.close()
    assert [child.stdout.read() for child in children] == ["0003\n"] * 3
    assert [child.wait() for child in children] == [0, 0, 0]
    for child in children:
        child.stdout.close()
    store = Store(url)
    assert contents(store) == held
    store.close()


def test_the_start_of_a_new_database_does_not_load_alembic(tmp_path):
    script = "import sys; from etlkit.store import Store; Store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/etl.db"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    with contextlib.closing(sqlite3.connect(tmp_path / "etl.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (models.SCHEMA_VERSION,)
