"""Fifty secrets, put wherever a user could put one, and leaked in every way that a task has: no byte that the kit wrote
or printed shows one.

What is not searched for on purpose: XComs and the conf of a run are data that must arrive as it was, so the database
keeps them as they are, and what a person is shown of them is masked.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
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
    "dags details leaky",
    "dags report",
    "dags state leaky 2013-01-01",
    "tasks run leaky prints 2013-01-02",
    "tasks run leaky fails 2013-01-02",
    "! tasks run leaky dies 2013-01-02 --map-index 3",
    "tasks run leaky fails 2013-01-02 --ignore-dependencies --output json",
    "tasks state leaky fails 2013-01-02",
    "tasks failed-deps leaky fails 2013-01-02",
    "tasks render leaky echo 2013-01-02",
    "tasks render leaky sql 2013-01-02 --output json",
    "! tasks render leaky undefined 2013-01-02",
    "tasks clear leaky --only-failed --start-date 2013-01-02 --yes --output yaml",
    "variables list",
    "variables list --output json",
    "variables get webhook-url-1",
    "variables get api_key_1",
    "variables get config_1 --json",
    "variables get config_1",
    "! variables get webhook-url-1 --json",
    "variables export -",
    "variables export @home/variables.yaml",
    "variables import @home/variables.yaml",
    "! variables import @bad",
    "! variables set broken @broken --json",
    "connections list --output json",
    "connections get password_1",
    "connections get extra_1 --output json",
    "connections get uri_1 --output yaml",
    "connections get url_in_host",
    "connections test password_1",
    "connections test extra_1",
    "! connections add broken --conn-uri @broken",
    "connections export - --file-format env",
    "connections export @home/connections.env --serialization-format json",
    "connections export @home/connections.json",
    "connections import @home/connections.json --overwrite",
    "! connections import @bad",
    "pools list",
    "config list --output json",
    "config get-value database sql_alchemy_conn",
    "rotate-fernet-key",
    "db check",
]
"""What is run in turn, `!` before what is refused; `@home`, `@bad` and `@broken` are filled in."""

COMPLETIONS = [f"etlkit {words} " for words in ("variables get", "connections get", "tasks list", "dags state leaky")]


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
    (tmp_path / "bad.json").write_text(json.dumps({"password": SECRETS}) + "}")
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


def run(words, environ):
    """How a command ended, and what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "etlkit", *words], env={**os.environ, **environ}, capture_output=True
    )
    return result.returncode, (result.stdout + result.stderr).decode()


def test_the_command_line_prints_and_writes_no_secret(environ):
    home = Path(environ["ETLKIT_HOME"])
    filled = {"@bad": str(home.parent / "bad.json"), "@broken": f'{{"password": "{SECRETS[0]}"'}
    for command in COMMANDS:
        *refused, line = command.split("! ")
        code, printed = run([filled.get(word, word.replace("@home", str(home))) for word in line.split()], environ)
        assert_hidden(printed, command)
        assert code in ((2,) if refused else (0, 1)), printed
    assert CORE in run(["variables", "get", "webhook-url-1", "--include-secrets"], environ)[1], "it was asked for"
    for line in COMPLETIONS:
        asked = {"_ETLKIT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        code, printed = run([], {**environ, **asked})
        assert (code, printed != "") == (0, True)
        assert_hidden(printed, line)
    written = [path for path in home.rglob("*") if path.is_file() and "etlkit.db" not in path.name]
    assert len(written) > 15
    for path in written:
        assert_hidden(path.read_bytes().decode("latin-1"), path)
    logs = "".join(path.read_text(encoding="utf-8") for path in written if path.suffix == ".log")
    assert logs.count(STARS) > 20 * len(SECRETS)
    store = Store(f"sqlite:///{home}/etlkit.db")
    assert_hidden(repr(kept(store)), "the metadata database")
    states = {row.state for row in store.task_instances(store.run_at("leaky", datetime(2013, 1, 1, tzinfo=UTC)).id)}
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
