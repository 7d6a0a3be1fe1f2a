"""Tasks that run shell commands: real ones."""

import json
import os
import signal
import threading

import pytest

from etlkit.dag import DAG
from etlkit.errors import AirflowException, AirflowSkipException, DagError
from etlkit.operators import bash
from etlkit.operators.bash import Bash, BashOperator
from etlkit.operators.python import PythonOperator
from tests.one_run import OneRun


class Ti:
    dag_id, task_id, run_id, try_number = "d", "a", "r", 1


class DagRun:
    logical_date = None


CONTEXT = {"ti": Ti, "dag_run": DagRun}


def result(command, **kwargs):
    return BashOperator(task_id="a", bash_command=command, **kwargs).execute(CONTEXT)


@pytest.mark.parametrize(
    ("command", "last_line"),
    [
        ("echo one; echo two", "two"),
        ("printf 'no newline'", "no newline"),
        ("true", ""),
        ("echo '  padded  '", "  padded"),
        ("echo; echo ''", ""),
        ("echo out; echo err >&2", "err"),
        ("echo ✓ 한글", "✓ 한글"),
        ("printf 'a\\nb\\n\\n'", ""),
        ("printf 'tab\\tx\\n'", "tab\tx"),
        ("printf '\\xff\\n'", "\\xff"),
        ("false | echo ok", "ok"),
        ("false; echo ok", "ok"),
        ('echo "[$NOPE_NOT_SET]"', "[]"),
        ("pwd | grep -c etlkit-", "1"),
    ],
)
def test_the_last_line_is_the_result(command, last_line):
    assert result(command) == last_line


def test_every_line_is_logged_as_it_comes(caplog):
    with caplog.at_level("INFO", "etlkit.task"):
        result("echo one; echo two >&2")
    assert [record.getMessage() for record in caplog.records] == [
        "runs echo one; echo two >&2",
        "one",
        "two",
        "ended with exit code 0",
    ]


def test_an_output_processor_makes_the_result():
    assert result("echo '{\"a\": [1]}'", output_processor=json.loads) == {"a": [1]}
    with pytest.raises(DagError, match="task 'a': output_processor must be a function"):
        result("true", output_processor="json")


@pytest.mark.parametrize(
    ("command", "skip_on_exit_code", "outcome"),
    [
        ("exit 99", 99, AirflowSkipException),
        ("exit 42", 42, AirflowSkipException),
        ("exit 2", [1, 2], AirflowSkipException),
        ("exit 0", 0, AirflowSkipException),
        ("exit 99", [1, 2], AirflowException),
        ("exit 99", None, AirflowException),
        ("exit 1", 99, AirflowException),
        ("no_such_command_xyz", 99, AirflowException),
        ("set -e; false; echo ok", 99, AirflowException),
    ],
)
def test_exit_codes(command, skip_on_exit_code, outcome):
    with pytest.raises(AirflowException) as error:
        result(command, skip_on_exit_code=skip_on_exit_code)
    assert type(error.value) is outcome


def test_an_error_says_the_exit_code_and_the_last_words():
    with pytest.raises(AirflowException) as error:
        result("echo one; echo two; echo three; echo; echo four >&2; exit 3")
    assert str(error.value) == "the command ended with exit code 3; its last words: three | four"
    with pytest.raises(AirflowException, match="exit code 1; its last words: nothing"):
        result("exit 1")


def test_environment(monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "outside")
    assert result("echo [$FROM_OUTSIDE]") == "[outside]"
    assert result("echo [$FROM_OUTSIDE][$A]", env={"A": "1"}) == "[][1]"
    assert result("echo [$FROM_OUTSIDE][$A]", env={"A": "1"}, append_env=True) == "[outside][1]"
    assert result('echo "$A"', env={"A": "$(echo no) ; exit 5 '\""}) == "$(echo no) ; exit 5 '\""


def test_the_folder(tmp_path):
    assert result("pwd -P", cwd=str(tmp_path)) == str(tmp_path.resolve())
    with pytest.raises(AirflowException, match=r"cwd '/no/such/dir' is not a folder"):
        result("pwd", cwd="/no/such/dir")
    made = result("touch inside; pwd -P")
    assert not os.path.exists(made)  # noqa: PTH110 (a name from outside)


@pytest.mark.parametrize("command", ["", "  ", 5, None])
def test_a_command_that_is_none(command):
    with pytest.raises(AirflowException, match="the bash command must be a string with something in it"):
        result(command)


def test_no_bash(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AirflowException, match="bash was not found on PATH"):
        result("true")


def test_killing_ends_all_that_was_started():
    # What the command starts in the background holds its output open: the task ends only when that was killed too.
    task = BashOperator(task_id="a", bash_command="sleep 300 & echo started; wait")
    started, outcome = threading.Event(), []
    task._see = lambda tail, line: (tail.append(line), started.set())

    def run():
        with pytest.raises(AirflowException) as error:
            task.execute(CONTEXT)
        outcome.append(str(error.value))

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    task.on_kill()
    thread.join(20)
    assert outcome == ["the command ended with exit code -15; its last words: started"]


def test_an_exception_while_it_runs_ends_it():
    def stop(line):
        raise KeyboardInterrupt

    command = Bash("echo go; sleep 300", env=None, cwd=".")
    with pytest.raises(KeyboardInterrupt):
        command.follow(stop)
    assert command.process.returncode == -signal.SIGTERM


def test_a_command_that_does_not_want_to_end_is_killed(monkeypatch):
    monkeypatch.setattr(bash, "GRACE", 0.05)

    def stop(line):
        raise KeyboardInterrupt

    command = Bash("trap '' TERM; echo go; while true; do sleep 1; done", env=None, cwd=".")
    with pytest.raises(KeyboardInterrupt):
        command.follow(stop)
    assert command.process.returncode == -signal.SIGKILL


def test_stopping_what_has_ended_does_nothing():
    task = BashOperator(task_id="a", bash_command="true")
    task.on_kill()
    task.execute(CONTEXT)
    task.on_kill()


def test_in_a_run():
    with DAG("d") as dag:
        name = PythonOperator(task_id="name", python_callable=lambda: "Ada")
        BashOperator(task_id="greet", bash_command="echo Hello, $NAME", env={"NAME": name.output})
        BashOperator(
            task_id="ctx",
            bash_command="echo $AIRFLOW_CTX_DAG_ID $AIRFLOW_CTX_TASK_ID $AIRFLOW_CTX_TRY_NUMBER "
            "$AIRFLOW_CTX_LOGICAL_DATE $AIRFLOW_CTX_DAG_RUN_ID",
        )
        BashOperator(task_id="skips", bash_command="exit 99")
        BashOperator(task_id="hangs", bash_command="sleep 300", execution_timeout=0.2)
    run = OneRun(dag)
    assert run.value("greet") == "Hello, Ada"
    assert run.value("ctx") == f"d ctx 1 2013-01-02T00:00:00+00:00 {run.run.run_id}"
    assert run.states["skips"] == "skipped"
    assert run.states["hangs"] == "failed"
    assert "ran longer than its execution_timeout" in run.error("hangs")
