"""DAG files and folders of them: what is found, what is refused and at which line, what is read again."""

import os
import pickle
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from etlkit.dag_files import DagFolder, load_dag_file
from etlkit.errors import DagFileError, DagNotFound


@pytest.fixture
def folder(tmp_path, own_imports):
    """An empty folder; what is imported from it is forgotten in the end."""
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def ids(dags):
    return [dag.dag_id for dag in dags]


def one_dag(dag_id):
    return f"from etlkit import DAG\nwith DAG({dag_id!r}):\n    pass\n"


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


def test_a_dag_imported_from_another_file_belongs_to_that_one(folder):
    write(folder / "b.py", one_dag("b"))
    write(folder / "a.py", "from b import *\nimport b\nfrom etlkit import DAG\nwith DAG('a'): pass")
    found = DagFolder(folder)
    assert {dag_id: Path(dag.fileloc).name for dag_id, dag in found.dags.items()} == {"a": "a.py", "b": "b.py"}
    assert found.errors == []


def test_a_dag_made_by_a_helper_belongs_to_the_file_that_called_it(folder):
    write(folder / "factory.py", "from etlkit import DAG\ndef make(n):\n    with DAG(n) as d:\n        return d\n")
    path = write(folder / "a.py", "from factory import make  # makes DAGs\nmake('a')\nd = make('b')\n")
    found = DagFolder(folder)
    assert {dag_id: dag.fileloc for dag_id, dag in found.dags.items()} == {"a": str(path), "b": str(path)}
    assert found.errors == [], "a helper that another file imports needs no DAG"


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


# --- folders ----------------------------------------------------------------------------------------------------------


def test_one_broken_file_is_one_error_and_the_others_load(folder):
    for name in "abc":
        write(folder / f"{name}.py", one_dag(name))
    broken = write(folder / "b.py", "from etlkit import DAG\nDAG(\n")
    found = DagFolder(folder)
    assert list(found.dags) == ["a", "c"]
    assert [(error.path, error.line) for error in found.errors] == [(str(broken), 2)]


def test_an_id_taken_by_another_file_makes_the_second_file_broken(folder):
    first, second = (write(folder / name, one_dag("same")) for name in ("a.py", "b.py"))
    found = DagFolder(folder)
    assert found.dags["same"].fileloc == str(first)
    assert [str(error) for error in found.errors] == [
        f"{second}: two DAGs are called 'same' (in {first} and {second}); rename one"
    ]


def test_a_folder_runs_only_files_that_speak_of_dags(folder):
    write(folder / "script.py", "raise RuntimeError('nobody asked for this')")
    write(folder / ".venv" / "hidden.py", one_dag("hidden"))
    write(folder / "__pycache__" / "cached.py", one_dag("cached"))
    write(folder / "notes.txt", one_dag("text"))
    write(folder / "a.py", one_dag("a"))
    found = DagFolder(folder)
    assert (list(found.dags), found.errors) == (["a"], [])


def test_a_file_without_its_dag_is_an_error_in_a_folder_too(folder):
    path = write(folder / "a.py", "from etlkit import dag\n@dag\ndef forgotten(): pass\n")
    assert [(error.path, error.reason[:20]) for error in DagFolder(folder).errors] == [
        (str(path), "there is no DAG in i")
    ]


def test_a_dag_that_is_not_found_may_be_in_a_file_that_does_not_load(folder):
    write(folder / "a.py", one_dag("weather"))
    with pytest.raises(DagNotFound, match="no DAG is called 'wether'; did you mean 'weather'"):
        DagFolder(folder).get("wether")
    broken = write(folder / "b.py", "DAG = 1 / 0\n")
    with pytest.raises(DagNotFound, match=r"no DAG is called 'flights'.*\(1 file\(s\) did not load: .*b\.py:1: Zero"):
        DagFolder(folder).get("flights")
    assert DagFolder(broken).errors[0].line == 1, "a DagFolder may be one file"


def test_a_folder_that_is_not_there(folder):
    with pytest.raises(DagFileError, match="there is no such file or folder"):
        DagFolder(folder / "missing")


# --- reading again ----------------------------------------------------------------------------------------------------


def change(path, text):
    """Write a file so that it looks changed, also to a clock that is coarse."""
    write(path, text)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def test_only_what_changed_is_read_again(folder):
    a, b = (write(folder / f"{name}.py", one_dag(name)) for name in "ab")
    found = DagFolder(folder)
    before = dict(found.dags)
    assert not found.refresh()
    assert found.dags == before
    change(b, one_dag("b2"))
    assert found.refresh()
    assert list(found.dags) == ["a", "b2"]
    assert found.dags["a"] is before["a"]
    a.unlink()
    write(folder / "c.py", one_dag("c"))
    assert found.refresh()
    assert list(found.dags) == ["b2", "c"]


def test_a_file_that_breaks_and_is_mended(folder):
    path = write(folder / "a.py", one_dag("a"))
    found = DagFolder(folder)
    change(path, one_dag("a") + "1 / 0\n")
    assert found.refresh()
    assert (list(found.dags), len(found.errors)) == ([], 1)
    change(path, one_dag("a") + "\n")
    assert found.refresh()
    assert (list(found.dags), found.errors) == (["a"], [])


def test_a_change_of_a_helper_is_seen_by_the_files_that_import_it(folder):
    helper = write(folder / "names.py", "NAME = 'old'\n")
    write(folder / "a.py", "from names import NAME\nfrom etlkit import DAG\nd = DAG(NAME)\n")
    write(folder / "b.py", one_dag("b"))
    found = DagFolder(folder)
    change(helper, "NAME = 'newer'\n")
    assert found.refresh()
    assert sorted(found.dags) == ["b", "newer"]


def test_a_dag_id_that_moves_to_another_file(folder):
    a, b = write(folder / "a.py", one_dag("x")), write(folder / "b.py", one_dag("x"))
    found = DagFolder(folder)
    assert len(found.errors) == 1
    a.unlink()
    assert found.refresh()
    assert (found.dags["x"].fileloc, found.errors) == (str(b), [])
