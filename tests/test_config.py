"""Settings: file, environment, defaults, and what is refused."""

from pathlib import Path

import pytest

from etlkit.config import OPTIONS, Config, conf
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import ConfigError
from tests.engine import at


@pytest.fixture
def home(tmp_path):
    """Writes etlkit.cfg and reads it."""

    def read(text, **environ):
        (tmp_path / "etlkit.cfg").write_text(text, encoding="utf-8")
        return Config(environ={"ETLKIT_HOME": str(tmp_path), **environ})

    return read


@pytest.fixture
def in_force():
    """Puts settings in force for one test."""
    yield lambda **environ: conf.use(Config(environ=environ))
    conf.use(None)


@pytest.mark.parametrize("option", sorted(OPTIONS), ids=".".join)
def test_every_default_means_something(option):
    value = Config(environ={"ETLKIT_HOME": "nowhere"}).get(*option)
    assert "{" not in str(value)
    assert OPTIONS[option].meaning


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(home):
    text = "[core]\nparallelism = 5\n"
    assert Config(environ={}).get("core", "parallelism") == 32
    assert home(text).get("core", "parallelism") == 5
    both = home(text, ETLKIT__CORE__PARALLELISM="7")
    assert both.get("core", "parallelism") == 7
    assert both.raw("core", "parallelism") == ("7", "environment variable ETLKIT__CORE__PARALLELISM")


def test_folders_are_below_home(home, tmp_path):
    assert home("").get("core", "dags_folder") == tmp_path / "dags"
    assert home("[core]\ndags_folder = /srv/100%dags\n").get("core", "dags_folder") == Path("/srv/100%dags")


@pytest.mark.parametrize(("text", "value"), [("True", True), ("yes", True), ("0", False), ("OFF", False)])
def test_truth_is_written_in_several_ways(home, text, value):
    assert home(f"[scheduler]\ncatchup_by_default = {text}\n").get("scheduler", "catchup_by_default") is value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[core]\nparalellism = 5\n", r"etlkit\.cfg: no option \[core\] paralellism; did you mean 'parallelism'\?"),
        ("[cores]\nparallelism = 5\n", r"no option \[cores\] parallelism; did you mean 'core'\?"),
        ("parallelism = 5\n", r"etlkit\.cfg cannot be read: .*no section headers"),
        ("[core]\nparallelism = 5\nparallelism = 6\n", r"etlkit\.cfg cannot be read"),
    ],
)
def test_a_file_that_means_nothing_is_refused_in_one_line(home, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        home(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "etlkit.cfg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        Config(home=tmp_path, environ={})


@pytest.mark.parametrize(
    ("section", "key", "text", "words"),
    [
        ("core", "parallelism", "many", r"ETLKIT__CORE__PARALLELISM: \[core\] parallelism = 'many' is not a valid pos"),
        ("core", "parallelism", "-3", r"ETLKIT__CORE__PARALLELISM: \[core\] parallelism: -3 is less than 1"),
        ("core", "executor", "SequentalExecutor", "there is no executor .*; did you mean 'SequentialExecutor'?"),
        ("scheduler", "catchup_by_default", "perhaps", "is not a valid boolean"),
        ("core", "default_task_retry_delay", "", "is not a valid float"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_where_it_comes_from(section, key, text, words):
    config = Config(environ={f"ETLKIT__{section.upper()}__{key.upper()}": text})
    with pytest.raises(ConfigError, match=words):
        config.get(section, key)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("ETLKIT__CORE__PARALELLISM", r"no option \[core\] paralellism; did you mean 'parallelism'\?"),
        ("ETLKIT__X", r"no option \[x\]"),
    ],
)
def test_a_variable_of_the_environment_that_names_no_option_is_refused(variable, words):
    with pytest.raises(ConfigError, match=f"environment variable {variable}: {words}"):
        Config(environ={variable: "4", "ETLKIT_CONN_X": "http://", "ETLKIT_HOME": "nowhere"})


def test_an_option_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"no option \[core\] dag_folder; did you mean 'dags_folder'\?"):
        Config(environ={}).get("core", "dag_folder")
    with pytest.raises(ConfigError, match=r"no option \[corre\] dags_folder; did you mean 'core'\?"):
        Config(environ={}).get("corre", "dags_folder")


def test_the_settings_in_force_are_read_when_first_asked(in_force):
    in_force(ETLKIT__CORE__PARALLELISM="3")
    assert conf.get("core", "parallelism") == 3
    assert conf.current.get("core", "parallelism") == 3


def test_settings_reach_dags_and_tasks_that_do_not_say(in_force):
    in_force(
        ETLKIT__SCHEDULER__CATCHUP_BY_DEFAULT="True",
        ETLKIT__CORE__MAX_ACTIVE_RUNS_PER_DAG="2",
        ETLKIT__CORE__MAX_ACTIVE_TASKS_PER_DAG="3",
        ETLKIT__CORE__DEFAULT_TASK_RETRIES="4",
        ETLKIT__CORE__DEFAULT_TASK_RETRY_DELAY="5",
    )
    with DAG("d", start_date=at(1)) as dag:
        silent, says = BaseOperator("silent"), BaseOperator("says", retries=0, retry_delay=1)
    assert (dag.catchup, dag.max_active_runs, dag.max_active_tasks) == (True, 2, 3)
    assert (silent.retries, silent.retry_delay.total_seconds()) == (4, 5)
    assert (says.retries, says.retry_delay.total_seconds()) == (0, 1)
