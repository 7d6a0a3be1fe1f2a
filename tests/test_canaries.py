"""Fifty secrets, put wherever a user could put one, and leaked in every way that a task has: no byte that the kit wrote
or printed shows one.

What is not searched for on purpose: XComs and the conf of a run are data that must arrive as it was, so the database
keeps them as they are, and what a person is shown of them is masked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from etlkit.config import Config, conf
from etlkit.connections import Connection, Connections, learn_secrets
from etlkit.dag_files import load_dag_file
from etlkit.lab import Lab
from etlkit.masking import STARS, masker
from etlkit.store import Store
from etlkit.variables import Variables

CORE = "kanarienvogel"
SECRETS = [f"{CORE}{i:02}/x y's \"+%é\\{{}}&<>\nline-of-{CORE}{i:02}" if i % 2 else f"{CORE}{i:02}" for i in range(50)]


def places():
    """Where the secrets are put: (environment variables, Variables, Connections), each with its own ones."""
    secret = iter(SECRETS)
    environ = {
        **{f"ETLKIT_VAR_API_KEY_{i}": next(secret) for i in range(5)},
        **{f"AIRFLOW_VAR_SETTINGS_{i}": json.dumps({"deep": [{"password": next(secret)}]}) for i in range(5)},
        **{f"ETLKIT_CONN_URI_{i}": Connection("x", "http", password=next(secret)).get_uri() for i in range(5)},
        **{
            f"ETLKIT_CONN_EXTRA_{i}": Connection("x", "http", extra={"token": next(secret)}).get_uri() for i in range(3)
        },
        **{f"AIRFLOW_CONN_JSON_{i}": Connection("x", "http", password=next(secret)).as_json() for i in range(3)},
        **{f"DATABASE_URL_{i}": Connection("x", "mysql", login="u", password=next(secret)).get_uri() for i in range(2)},
    }
    variables = {
        **{f"webhook-url-{i}": next(secret) for i in range(6)},
        **{f"config_{i}": json.dumps({"my api key": next(secret), "n": {"dsn": [next(secret)]}}) for i in range(3)},
        "secret_hosts": json.dumps([next(secret), {"name": next(secret)}]),
    }
    connections = [
        *(Connection(f"password_{i}", "postgres", host="h", login="u", password=next(secret)) for i in range(6)),
        *(Connection(f"extra_{i}", "http", extra={"keyfile_dict": {"id": next(secret)}}) for i in range(6)),
        Connection("url_in_host", "http", host=f"http://u:{quote(next(secret), safe='')}@h"),
    ]
    assert next(secret, None) is None
    return environ, variables, connections


PIPELINE = """
import json, logging, sys, warnings
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from etlkit import DAG, AirflowSkipException, Variable, task
from etlkit.operators import BashOperator, SQLExecuteQueryOperator

SECRETS = json.loads(Path({path!r}).read_text())
ALL = " and ".join(SECRETS)


def callback(context):
    print("callback", ALL, context.get("exception"))
    raise RuntimeError(ALL)


with DAG(
    "leaky", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC), catchup=True,
    on_failure_callback=callback, default_args=dict(on_failure_callback=callback, on_retry_callback=callback),
) as dag:

    @task
    def prints():
        print(ALL)
        print(SECRETS)
        print(*SECRETS, sep="\\n")
        print(json.dumps(SECRETS), repr(ALL), ascii(ALL), quote(ALL), file=sys.stdout)
        sys.stdout.writelines(SECRETS)
        print(ALL, file=sys.stderr)

    @task
    def logs():
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL):
            logging.getLogger("mine").log(level, "%s %r", ALL, SECRETS)
            logging.getLogger("etlkit.task").log(level, ALL)
        try:
            raise KeyError(*SECRETS)
        except KeyError:
            logging.exception("it happened: %s", SECRETS, stack_info=True)

    @task
    def warns():
        warnings.warn(ALL)

    @task(retries=1, retry_delay=0)
    def fails():
        try:
            raise KeyError(ALL)
        except KeyError as error:
            error.add_note(ALL)
            raise ExceptionGroup(ALL, [ValueError(SECRETS)]) from error

    @task
    def dies():
        sys.exit(ALL)

    @task
    def skips():
        raise AirflowSkipException(ALL)

    @task
    def returns():
        return {{"secrets": SECRETS, "text": ALL}}

    @task
    def returns_what_cannot_travel():
        return {{"secrets": SECRETS, "text": object()}}

    @task(multiple_outputs=True)
    def returns_odd_keys():
        return {{tuple(SECRETS): 1}}

    for leak in (
        prints, logs, warns, fails, dies, skips, returns, returns_what_cannot_travel, returns_odd_keys
    ):
        leak()
    BashOperator(task_id="env", bash_command="env; env >&2; set")
    BashOperator(task_id="echo", bash_command="echo {{{{ var.value.api_key_1 }}}} {{{{ conn.uri_1.password }}}}; no")
    BashOperator(task_id="undefined", bash_command="{{{{ var.value.api_key_1 + nonsense }}}}")
    SQLExecuteQueryOperator(task_id="sql", sql="SELECT nonsense FROM '" + ALL.replace("'", "''") + "'")
"""

BROKEN = """
from etlkit import Variable

raise ValueError(Variable.get("webhook-url-1") + Variable.get("api_key_1"))
"""

COMMANDS = [
    "dags list",
    "dags list --output json",
    "dags list-import-errors",
    "dags show leaky",
    "tasks list leaky",
    "dags test leaky 2013-01-01 --output json",
    "tasks test leaky prints 2013-01-01",
    "tasks test leaky fails 2013-01-01",
    "dags backfill leaky -s 2013-01-01 -e 2013-01-01",
    "dags list-runs leaky",
    "tasks states-for-dag-run leaky 2013-01-01",
    "tasks states-for-dag-run leaky 2013-01-01 --output json",
    "logs show leaky prints 2013-01-01",
    "logs show leaky fails 2013-01-01",
    "dags why leaky",
    "db check",
]


@pytest.fixture
def environ(tmp_path):
    """The environment of a home folder with all of the secrets, and of a DAG folder whose files do not hold one."""
    environ, variables, connections = places()
    home, dags = tmp_path / "home", tmp_path / "home" / "dags"
    dags.mkdir(parents=True)
    conf.use(Config(home=home, environ={}))
    store = Store(f"sqlite:///{home}/etlkit.db")
    fill(store, variables, connections)
    store.close()
    (tmp_path / "secrets.json").write_text(json.dumps(SECRETS))
    (dags / "leaky.py").write_text(PIPELINE.format(path=str(tmp_path / "secrets.json")))
    (dags / "broken.py").write_text(BROKEN)
    yield {**environ, "ETLKIT_HOME": str(home)}
    conf.use(None)
    masker.forget()


def fill(store, variables, connections):
    for key, value in variables.items():
        Variables(store).set(key, value)
    for connection in connections:
        Connections(store).set(connection)


def kept(store):
    """Every row of the metadata database, but for XComs."""
    tables = store.run_sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'xcom'").fetchall()
    return [row for (table,) in tables for row in store.run_sql(f'SELECT * FROM "{table}"').fetchall()]


def assert_hidden(text, where):
    place = text.find(CORE)
    assert place < 0, f"{where} shows {text[max(place - 200, 0) : place + 60]!r}"


def test_the_command_line_prints_and_writes_no_secret(environ):
    home = Path(environ["ETLKIT_HOME"])
    for command in COMMANDS:
        result = subprocess.run(
            [sys.executable, "-m", "etlkit", *command.split()], env={**os.environ, **environ}, capture_output=True
        )
        printed = (result.stdout + result.stderr).decode()
        assert_hidden(printed, command)
        assert result.returncode in (0, 1), printed
    written = [path for path in home.rglob("*") if path.is_file() and "etlkit.db" not in path.name]
    assert len(written) > 15
    for path in written:
        assert_hidden(path.read_bytes().decode("latin-1"), path)
    logs = "".join(path.read_text(encoding="utf-8") for path in written if path.suffix == ".log")
    assert logs.count(STARS) > 20 * len(SECRETS)
    store = Store(f"sqlite:///{home}/etlkit.db")
    assert_hidden(repr(kept(store)), "the metadata database")
    states = {row.state for run in store.runs() for row in store.task_instances(run.id)}
    assert states == {"success", "failed", "skipped"}
    store.close()


def test_a_lab_shows_no_secret(environ, tmp_path, capsys):
    conf.use(Config(home=tmp_path / "home", environ=environ))
    (dag,) = load_dag_file(tmp_path / "home" / "dags" / "leaky.py")
    with Lab(start="2013-01-01", logs=tmp_path / "logs") as lab:
        _, variables, connections = places()
        fill(lab.store, variables, connections)
        masker.forget()
        learn_secrets(lab.store)
        lab.add(dag).run_until("2013-01-03")
        shown = {
            "lab": repr(lab) + lab._repr_html_(),
            "trace": str(lab.trace()),
            "why": str(lab.why(dag)),
            **{
                name: str(getattr(lab, name)().to_dict("records"))
                for name in ("runs", "task_instances", "xcoms", "decisions")
            },
            "tries": str(lab.task_instances(all_tries=True).to_dict("records")),
            **{task.task_id: str(lab.log(task.task_id)) for task in dag.tasks},
            "variables": json.dumps(Variables(lab.store).export()),
            "connections": json.dumps(Connections(lab.store).export()) + repr(Connections(lab.store).all()),
            "database": repr(kept(lab.store)),
        }
    for where, text in shown.items():
        assert_hidden(text, where)
    assert STARS in shown["xcoms"]
    for path in (tmp_path / "logs").rglob("*.log"):
        assert_hidden(path.read_text(encoding="utf-8"), path)
