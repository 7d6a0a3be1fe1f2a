"""DAG files: which DAGs one has, what is refused and at which line."""

import os
import pickle
import signal
import sys

import pytest

from etlkit.config import Config, conf
from etlkit.dag_files import load_dag_file
from etlkit.dag_folder import DagFolder
from etlkit.errors import DagFileError
from etlkit.masking import masker
from tests.dag_files import one_dag, write


@pytest.fixture
def folder(tmp_path, own_imports):
    """An empty folder; what is imported from it is forgotten in the end."""
    return tmp_path


def ids(dags):
    return [dag.dag_id for dag in dags]


# --- which DAGs a file has --------------------------------------------------------------------------------------------

FORMS = {
    "in a variable": ("d = DAG('a')", ["a"]),
    "in a with block, with a name": ("with DAG('a') as d: pass", ["a"]),
    "in a with block, without one": ("with DAG('a'): pass", ["a"]),
    "several, in the order written": ("with DAG('b'): pass\nwith DAG('a'): pass", ["b", "a"]),
    "made by a function and kept": ("def make(n):\n    return DAG(n)\nx = make('a')\ny = make('b')", ["a", "b"]),
    "one DAG under two names": ("x = y = DAG('a')", ["a"]),
    "by calling a decorated function": ("@dag\ndef a(): pass\na()", ["a"]),
    "by calling two of one function": ("def f(): pass\nfor n in 'ab': dag(n)(f)()", ["a", "b"]),
    "put into globals": ("for n in 'ab':\n    globals()[n] = DAG(n)", ["a", "b"]),
    "not one that a function forgot": ("def make():\n    DAG('lost')\nmake()\nd = DAG('a')", ["a"]),
    "not under if main": ("d = DAG('a')\nif __name__ == '__main__':\n    e = DAG('b')", ["a"]),
    "in Korean": ("with DAG('날씨_수집'): pass", ["날씨_수집"]),
}


@pytest.mark.parametrize(("text", "expected"), FORMS.values(), ids=FORMS)
def test_which_dags_a_file_has(folder, text, expected):
    path = write(folder / "f.py", f"from etlkit import DAG, dag\n{text}\n")
    dags = load_dag_file(path)
    assert ids(dags) == expected
    assert {dag.fileloc for dag in dags} == {str(path)}


def test_the_folder_and_the_file_s_own_folder_are_importable_and_stay_so(folder):
    write(folder / "top_helper.py", "WORD = 'top'")
    write(folder / "team" / "near_helper.py", "WORD = 'near'")
    write(
        folder / "team" / "a.py",
        """
        from top_helper import WORD
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def words():
                import near_helper
                return [WORD, near_helper.WORD]
            words()
        """,
    )
    task = DagFolder(folder).get("a").get_task("words")
    assert task.python_callable() == ["top", "near"]


def test_a_folder_of_dag_files_hides_no_module_of_python(folder):
    write(folder / "json.py", "raise RuntimeError('this is not the json of Python')")
    write(folder / "a.py", "import json\njson.dumps\n" + one_dag("a"))
    assert ids(load_dag_file(folder / "a.py")) == ["a"]


def test_two_files_of_one_name_do_not_meet(folder):
    for part in "ab":
        write(folder / part / "same.py", f"NAME = {part!r}\n{one_dag(part)}")
    assert list(DagFolder(folder).dags) == ["a", "b"]


def test_what_a_file_defines_can_be_pickled(folder):
    write(
        folder / "a.py",
        """
        from dataclasses import dataclass
        from etlkit import DAG

        @dataclass
        class Reading:
            temperature: float

        with DAG("a"): pass
        """,
    )
    (dag,) = load_dag_file(folder / "a.py")
    reading = sys.modules[dag.written_in].Reading(26.1)
    assert pickle.loads(pickle.dumps(reading)) == reading


def test_a_file_keeps_its_own_future_imports_and_encoding(folder):
    path = folder / "a.py"
    path.write_bytes("# coding: euc-kr\nfrom etlkit import DAG\nd = DAG('날씨')\nx: int = 1\n".encode("euc-kr"))
    (dag,) = load_dag_file(path)
    assert dag.dag_id == "날씨"
    assert sys.modules[dag.written_in].__annotations__ == {"x": int}, "annotations are not text unless the file says so"


# --- what is wrong with a file ----------------------------------------------------------------------------------------

WRONG = {
    "a syntax error": ("x = 1\ny = = 2\n", 2, "SyntaxError: invalid syntax"),
    "an exception": ("x = 1\n\ndef f():\n    return x / 0\n\nf()\n", 4, "ZeroDivisionError: division by zero"),
    "an exception without words": ("raise KeyError\n", 1, "KeyError"),
    "an exception of several lines": ("raise ValueError('one\\ntwo')\n", 1, "ValueError: one two"),
    "the end of the process": (
        "import os\nos._exit(3)\n",
        2,
        "SystemExit: os._exit(3) while the file loads; move it into a task, or raise an exception",
    ),
    "an exit": ("import sys\nsys.exit('no settings')\n", 2, "SystemExit: no settings"),
    "a missing module": ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
    "no DAG": ("x = 1\n", None, "there is no DAG in it"),
    "a DAG function that nobody calls": (
        "from etlkit import dag\n@dag\ndef f(): pass\n",
        None,
        "there is no DAG in it",
    ),
    "an empty file": ("", None, "there is no DAG in it"),
    "a wrong argument": ("from etlkit import DAG\nd = DAG('a', schedul='@daily')\n", 2, "did you mean 'schedule'?"),
    "a name that it does not have": (
        "from json import lods\n",
        1,
        "ImportError: cannot import name 'lods' from 'json'",
    ),
    "a cycle": (
        "from etlkit import DAG\nfrom etlkit.operators.empty import EmptyOperator as E\n"
        "with DAG('d'):\n    a, b = E(task_id='a'), E(task_id='b')\n    a >> b >> a\n",
        3,
        "DAG 'd' has a cycle: a >> b >> a",
    ),
    "a cycle outside of a with block": (
        "from etlkit import DAG\nfrom etlkit.operators.empty import EmptyOperator as E\n"
        "d = DAG('d')\na, b = E(task_id='a', dag=d), E(task_id='b', dag=d)\na >> b >> a\n",
        None,
        "DAG 'd' has a cycle: a >> b >> a",
    ),
    "a timetable that cannot say what it is": (
        "from etlkit import DAG\nfrom etlkit.timetables import Timetable\nclass T(Timetable):\n"
        "    summary = property(lambda self: 1 / 0)\nd = DAG('d', schedule=T())\n",
        4,
        "ZeroDivisionError: division by zero",
    ),
    "two DAGs of one id": ("from etlkit import DAG\nx, y = DAG('a'), DAG('a')\n", None, "two DAGs are called 'a'"),
}


@pytest.mark.parametrize(("text", "line", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_said_with_its_line(folder, text, line, reason):
    path = write(folder / "bad.py", text)
    with pytest.raises(DagFileError) as caught:
        load_dag_file(path)
    error = caught.value
    assert error.path == str(path)
    assert reason in error.reason
    assert len(str(error).splitlines()) == 1
    assert str(error).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert not [name for name in sys.modules if name.startswith("etlkit_dag_file") and name.endswith("_bad")]


def test_the_line_is_the_file_s_own_even_if_a_helper_fails(folder):
    write(folder / "helper.py", "def f():\n\n    raise OSError('disk')\n")
    path = write(folder / "a.py", "# first\nimport helper\nhelper.f()\n")
    with pytest.raises(DagFileError, match=r"a\.py:3: OSError: disk"):
        load_dag_file(path)


def test_a_helper_that_is_no_python_is_named_with_its_line(folder):
    write(folder / "helper.py", "x = 1\ny = = 2\n")
    path = write(folder / "a.py", "\nimport helper\n")
    with pytest.raises(DagFileError, match=r"a\.py:2: SyntaxError: invalid syntax \(helper\.py, line 2\)"):
        load_dag_file(path)


def test_an_error_that_cannot_say_what_it_is(folder):
    path = write(folder / "a.py", "class E(Exception):\n    def __str__(self):\n        return 1 / 0\nraise E\n")
    with pytest.raises(DagFileError, match=r"a\.py:4: E: \(it cannot say what\)"):
        load_dag_file(path)


def test_the_stack_trace_begins_in_the_file_and_shows_no_secret(folder, monkeypatch):
    monkeypatch.setattr(masker, "_secrets", frozenset({"hunter22"}))
    write(folder / "helper.py", "def connect(url):\n    raise OSError(url)\n")
    path = write(folder / "a.py", "import helper\nhelper.connect('db://anna:hunter22@db')\n")
    with pytest.raises(DagFileError) as caught:
        load_dag_file(path)
    lines = caught.value.stacktrace.splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", f'  File "{path}", line 2, in <module>']
    assert lines[-1] == "OSError: db://anna:***@db"
    assert "hunter22" not in caught.value.stacktrace + caught.value.reason


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no SIGALRM here")
@pytest.mark.parametrize("catching", ["Exception", "OSError"])
def test_a_file_that_takes_for_ever(folder, monkeypatch, catching):
    monkeypatch.setattr(conf, "_config", Config(folder, {"ETLKIT__CORE__DAGBAG_IMPORT_TIMEOUT": "0.05"}))
    text = (
        f"from threading import Event\n\nwhile True:\n    try:\n        Event().wait(9)\n    except {catching}: pass\n"
    )
    path = write(folder / "slow.py", text)
    with pytest.raises(DagFileError) as caught:
        load_dag_file(path)
    assert str(caught.value) == (
        f"{path}:5: takes longer than 0.05 seconds to load; move what takes long into a task, or raise [core] "
        "dagbag_import_timeout"
    )


@pytest.mark.parametrize("content", [b"x = '\xed\xa0\x80'\n", b"x = 1\0\n", b"# coding: no-such-code\n"])
def test_bytes_that_are_no_text_are_one_line_too(folder, content):
    path = folder / "bad.py"
    path.write_bytes(content)
    with pytest.raises(DagFileError, match=r"\A.*bad\.py:?\d?: .*\Z"):
        load_dag_file(path)


def test_a_file_that_is_not_there(folder):
    with pytest.raises(DagFileError, match=r"missing\.py: cannot be read: No such file or directory"):
        load_dag_file(folder / "missing.py")


def test_a_file_that_is_not_python(folder):
    path = write(folder / "a.txt", one_dag("a"))
    with pytest.raises(DagFileError, match=r"its name must end in \.py"):
        load_dag_file(path)


def test_who_keeps_the_end_of_the_process_for_later_gets_it(folder):
    file = write(
        folder / "later.py",
        """
        import os
        from os import _exit
        from etlkit import DAG

        child = os.fork()
        if not child:
            _exit(5)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with DAG(f"the_child_ended_with_{status}") as d:
            d.later = _exit
        """,
    )
    before = os._exit
    (dag,) = load_dag_file(file)
    assert (dag.dag_id, os._exit is before) == ("the_child_ended_with_5", True)
    child = os.fork()
    if not child:
        dag.later(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
