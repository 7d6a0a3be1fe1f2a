"""What templates may not do, tried from inside a task that runs, with everything such a task is told."""

import os
import shutil

import jinja2
import pytest

from etlkit import macros
from etlkit.dag import DAG, BaseOperator
from etlkit.macros import OPEN_NAMES
from etlkit.operators.bash import BashOperator
from etlkit.operators.python import PythonOperator
from etlkit.sandbox import make_environment, render
from tests.one_run import OneRun

REFUSALS = (jinja2.exceptions.SecurityError, jinja2.UndefinedError, jinja2.TemplateNotFound)


class Try(BaseOperator):
    """Renders templates one by one; keeps what came out, or the exception."""

    def __init__(self, templates, **kwargs):
        super().__init__(**kwargs)
        self.templates, self.found = templates, {}

    def execute(self, context):
        self.log.info("so that the log of this try is a file")
        for text in self.templates:
            try:
                self.found[text] = self.render_template(text, context)
            except Exception as error:
                self.found[text] = error


ATTEMPTS = [
    # Python's internals
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ (['x'] | map(attribute='__class__') | first).__name__ }}",
    "{{ '{0.__class__}'.format(ds) }}",
    "{{ '{x.__class__}'.format_map({'x': ds}) }}",
    "{{ ti.__init__.__globals__ }}",
    "{{ ti.xcom_pull.__func__ }}",
    "{{ dag.user_defined_macros.f.__globals__ }}",
    "{{ f.__globals__ }}",
    "{{ f.__code__ }}",
    "{{ f.__closure__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ self.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ macros.ds_add.__globals__ }}",
    "{{ macros.__class__ }}",
    "{{ var.value.__class__ }}",
    "{{ conn.__init__ }}",
    "{{ params.__class__ }}",
    "{{ generator().gi_frame }}",
    "{{ __import__('os') }}",
    "{{ open('/etc/passwd') }}",
    "{{ eval('1') }}",
    "{{ globals() }}",
    # the engine's own
    "{{ ti._runner.store.run_sql('SELECT 1') }}",
    "{{ ti._work.dag }}",
    "{{ dag_run._run }}",
    "{{ dag._order }}",
    "{{ ti.store.run_sql('SELECT 1') }}",
    "{{ ti.store.url }}",
    "{% do dag.get_template_env().loader.searchpath.append('/etc') %}{% include 'passwd' %}",
    "{{ dag.get_template_env().globals }}",
    "{{ dag.get_template_env().overlay() }}",
    # what tasks do
    "{{ task.execute({}) }}",
    "{{ dag.get_task('bash').run_command('id', {'ti': ti, 'dag_run': dag_run}) }}",
    "{{ (dag.task_dict.values() | first).execute({}) }}",
    "{{ task.render_template('x', {}) }}",
    "{{ python.operator.python_callable }}",
    # what Connections connect to
    "{{ conn.web.get_hook() }}",
    "{{ conn.web.test_connection() }}",
    "{{ macros._clock }}",
    "{{ warehouse.sql('SELECT 1') }}",
    "{{ clock.sleep(1) }}",
    # from module to module
    "{{ macros.uuid.os.popen('id').read() }}",
    "{{ macros.uuid['os'] }}",
    "{{ macros.uuid | attr('os') }}",
    "{{ macros.json.codecs.open('/etc/passwd') }}",
    "{{ macros.json.decoder }}",
    "{{ macros.json.load }}",
    "{{ macros.time.sleep(1) }}",
    "{{ macros.dateutil.sys }}",
    "{{ macros.dateutil.tz.tz.os }}",
    "{{ macros.dateutil.tz.tzfile('/etc/passwd') }}",
    "{{ macros.dateutil.zoneinfo.rebuild }}",
    "{{ macros.dateutil.parser._parser }}",
    "{{ macros.yaml.load('!!python/object/apply:os.system [id]', macros.yaml.UnsafeLoader) }}",
    "{{ macros.yaml.unsafe_load('!!python/name:os.system') }}",
    "{{ tools.subprocess.run }}",
    "{{ tools.os.environ }}",
    # loggers and their files
    "{{ task.log.handlers }}",
    "{{ task.log.parent }}",
    # files
    "{% include '/etc/passwd' %}",
    "{% include '../../../../../../etc/passwd' %}",
    "{% import '/etc/passwd' as p %}",
    "{% extends '/etc/passwd' %}",
]


@pytest.fixture(scope="module", params=[False, True], ids=["text", "native"])
def found(request, tmp_path_factory):
    def generator():
        yield 1

    with DAG(
        "d",
        render_template_as_native_obj=request.param,
        template_searchpath=tmp_path_factory.mktemp("templates"),
        user_defined_macros={"f": lambda: 1, "generator": generator, "tools": shutil},
    ) as dag:
        BashOperator(task_id="bash", bash_command="true")
        attempt = Try(ATTEMPTS, task_id="t")
        dag.user_defined_macros["python"] = PythonOperator(task_id="python", python_callable=print).output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETLKIT_CONN_WEB", "sqlite:///:memory:")
        run = OneRun(dag)
    assert run.state == "success"
    assert run.log("t")
    return attempt.found


@pytest.mark.parametrize("text", ATTEMPTS)
def test_it_is_refused(found, text):
    assert isinstance(found[text], REFUSALS), found[text]


def test_a_range_cannot_fill_the_memory():
    with pytest.raises(OverflowError, match="Range too big"):
        render(make_environment(native=True).compiled("{{ range(10 ** 9) | list }}"), {})


def test_what_is_open_exists():
    handed_out = macros.Macros(clock=None)
    for name, allowed in OPEN_NAMES.items():
        module = handed_out
        for part in name.split("."):
            module = getattr(module, part)
        assert [missing for missing in allowed if not hasattr(module, missing)] == [], name


def test_what_is_open_can_be_used():
    environment = make_environment(macros={"macros": macros.Macros(clock=None), "tools": os})
    for text, expected in {
        "{{ macros.json.dumps({'a': [1]}) }}": '{"a": [1]}',
        "{{ macros.yaml.safe_load('a: [1]') }}": "{'a': [1]}",
        "{{ macros.uuid.uuid5(macros.uuid.NAMESPACE_DNS, 'example.com') }}": "cfbff0d1-9375-5685-968c-48ce8b15ae17",
        "{{ macros.dateutil.parser.isoparse('2013-01-31').day }}": "31",
        "{{ (macros.datetime(2013, 1, 31) + macros.dateutil.relativedelta.relativedelta(months=1)).day }}": "28",
        "{{ macros.time.strftime('%Y', macros.time.gmtime(0)) }}": "1970",
        "{{ tools.path.basename('/a/b') }}": None,  # os.path is a module of another name
        "{{ tools.sep }}": "/",
    }.items():
        if expected is None:
            with pytest.raises(jinja2.exceptions.SecurityError):
                render(environment.compiled(text), {})
        else:
            assert render(environment.compiled(text), {}) == expected
