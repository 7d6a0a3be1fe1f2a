"""Folders of DAG files: what is found, what is broken, what is read again and what is not."""

import os
import sys
from pathlib import Path

import pytest

from etlkit.config import Config, conf
from etlkit.dag_folder import DagFolder
from etlkit.errors import DagFileError, DagNotFound
from tests.dag_files import change, one_dag, write


@pytest.fixture
def folder(tmp_path, own_imports):
    """An empty folder; what is imported from it is forgotten in the end."""
    return tmp_path / "dags"


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


def test_a_folder_of_many_files_some_of_them_broken(folder):
    for number in range(60):
        write(folder / f"f{number:02}.py", one_dag(f"d{number}") + ("1 / 0\n" if number % 12 == 5 else ""))
    found = DagFolder(folder)
    assert len(found.dags) == 55
    assert [(Path(error.path).name, error.line) for error in found.errors] == [
        (f"f{number:02}.py", 4) for number in (5, 17, 29, 41, 53)
    ]
    before = dict(found.dags)
    assert not found.refresh(), "nothing has changed"
    write(folder / "f05.py", one_dag("d5") + "\n")
    assert found.refresh()
    assert (len(found.dags), len(found.errors)) == (56, 4)
    assert all(found.dags[dag_id] is dag for dag_id, dag in before.items())


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time(folder):
    path = write(folder / "a.py", one_dag("a"))
    found, stat = DagFolder(folder), path.stat()
    other = write(folder / "a.tmp", one_dag("b"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert found.refresh()
    assert list(found.dags) == ["b"]


def test_a_folder_that_disappears_and_comes_back(folder):
    write(folder / "a.py", one_dag("a"))
    found = DagFolder(folder)
    folder.rename(folder.with_name("away"))
    assert found.refresh()
    assert found.dags == {}
    assert [error.reason[:24] for error in found.errors] == ["there is no such file or"]
    assert not found.refresh()
    folder.with_name("away").rename(folder)
    assert found.refresh()
    assert (list(found.dags), found.errors) == (["a"], [])


def test_what_is_gone_leaves_no_module_behind(folder):
    path = write(folder / "a.py", one_dag("a"))
    found = DagFolder(folder)
    module = found.dags["a"].written_in
    assert module in sys.modules
    path.unlink()
    assert found.refresh()
    assert module not in sys.modules


# --- helpers ----------------------------------------------------------------------------------------------------------


def helped(folder, helper="names.py"):
    """A folder whose DAG has the name that a helper gives it."""
    path = write(folder / helper, "NAME = 'old'\n")
    module = ".".join(Path(helper).with_suffix("").parts)
    write(folder / "a.py", f"from {module} import NAME\nfrom etlkit import DAG\nd = DAG(NAME)\n")
    return path, DagFolder(folder)


@pytest.mark.parametrize("helper", ["names.py", "lib/names.py", "ignored/names.py", "ignored_names.py"])
def test_a_helper_is_watched_wherever_it_lies(folder, helper):
    write(folder / ".airflowignore", "ignored*\n")
    path, found = helped(folder, helper)
    assert (list(found.dags), found.refresh()) == (["old"], False)
    change(path, "NAME = 'new'\n")
    assert found.refresh()
    assert list(found.dags) == ["new"]
    path.unlink()
    assert found.refresh()
    assert [error.line for error in found.errors] == [1]
    assert not found.refresh()
    if "ignored" not in helper:
        write(path, "NAME = 'back'\n")
        assert found.refresh()
        assert (list(found.dags), found.errors) == (["back"], [])


def test_a_module_in_a_package_is_read_anew_too(folder):
    write(folder / "lib" / "__init__.py", "")
    path = write(folder / "lib" / "names.py", "NAME = 'old'\n")
    write(folder / "a.py", "from lib import names\nfrom etlkit import DAG\nd = DAG(names.NAME)\n")
    found = DagFolder(folder)
    change(path, "NAME = 'new'\n")
    assert found.refresh()
    assert list(found.dags) == ["new"]


def test_a_helper_that_is_changed_twice_in_a_second(folder):
    path, found = helped(folder)
    stat = path.stat()
    for text in ("one", "two", "six"):
        path.write_text(f"NAME = {text!r}\n")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # its byte code looks as if it were up to date
        assert found.refresh()
        assert list(found.dags) == [text]


@pytest.mark.parametrize("place", ["lib", "ignored"])
def test_a_helper_that_does_not_load_and_is_mended(folder, place):
    write(folder / ".airflowignore", "ignored\n")
    helper = write(folder / place / "names.py", "NAME = = 1\n")
    write(folder / "a.py", f"from {place}.names import NAME\nfrom etlkit import DAG\nd = DAG(NAME)\n")
    found = DagFolder(folder)
    assert [(Path(error.path).name, error.line) for error in found.errors] == [("a.py", 1)]
    assert not found.refresh()
    change(helper, "1 / 0\n")
    assert found.refresh()
    assert [error.reason for error in found.errors] == ["ZeroDivisionError: division by zero"]
    change(helper, "NAME = 'a'\n")
    assert found.refresh()
    assert (list(found.dags), found.errors) == (["a"], [])


def test_a_module_that_was_missing_may_come(folder):
    write(folder / "a.py", "from names import NAME\nfrom etlkit import DAG\nd = DAG(NAME)\n")
    found = DagFolder(folder)
    assert len(found.errors) == 1
    write(folder / "names.py", "NAME = 'a'\n")
    assert found.refresh()
    assert (list(found.dags), found.errors) == (["a"], [])


def test_a_module_that_a_task_imports_is_watched_too(folder):
    helper = write(folder / "late.py", "WORD = 'old'\n")
    write(
        folder / "a.py",
        """
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def word():
                from late import WORD
                return WORD
            word()
        """,
    )
    found = DagFolder(folder)

    def word():
        return found.get("a").get_task("word").python_callable()

    assert (word(), found.refresh()) == ("old", False)
    change(helper, "WORD = 'new'\n")
    assert found.refresh()
    assert word() == "new"


def test_a_new_folder_object_sees_what_has_changed_since_an_earlier_one(folder):
    path, _ = helped(folder)
    change(path, "NAME = 'new'\n")
    assert list(DagFolder(folder).dags) == ["new"]


def test_installed_packages_in_the_folder_are_no_helpers(folder):
    package = folder / "venv" / "lib" / "site-packages"
    write(package / "big_library.py", "NAME = 'a'\n")
    text = f"import sys\nsys.path.append({str(package)!r})\nfrom big_library import NAME\n"
    write(folder / "a.py", text + "from etlkit import DAG\nd = DAG(NAME)\n")
    found, library = DagFolder(folder), sys.modules["big_library"]
    change(folder / "a.py", text + "from etlkit import DAG\nd = DAG(NAME * 2)\n")
    assert found.refresh()
    assert list(found.dags) == ["aa"]
    assert sys.modules["big_library"] is library


# --- what is printed --------------------------------------------------------------------------------------------------


def test_a_file_that_prints_a_lot_is_cut_short(folder, capsys):
    path = write(folder / "a.py", "import sys\nout = sys.stdout\nfor i in range(999):\n    print(i)\n" + one_dag("a"))
    found = DagFolder(folder)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [*map(str, range(20)), f"{path}: 979 more lines printed while it was loaded"]
    print("later", file=sys.modules[found.dags["a"].written_in].out)
    assert capsys.readouterr().out == "later\n"


# --- which files ------------------------------------------------------------------------------------------------------


def test_a_file_that_does_not_speak_of_dags_is_run_when_asked(folder, monkeypatch):
    write(folder / "a.py", "raise RuntimeError('run')\n")
    assert DagFolder(folder).errors == []
    monkeypatch.setattr(conf, "_config", Config(folder, {"ETLKIT__CORE__DAG_DISCOVERY_SAFE_MODE": "False"}))
    assert [error.reason for error in DagFolder(folder).errors] == ["RuntimeError: run"]


IGNORED = {
    "a name": ("b.py", ["a.py", "sub/c.py"]),
    "a name anywhere below": ("c.py", ["a.py", "b.py"]),
    "a folder": ("sub/", ["a.py", "b.py"]),
    "a star": ("*b*", ["a.py"]),
    "an exception": ("*.py\n!a.py", ["a.py"]),
    "the folder's own only": ("/c.py", ["a.py", "b.py", "sub/c.py"]),
    "comments": ("# b.py\na.py  # not this one\n\n", ["b.py", "sub/c.py"]),
    "two stars": ("**/c.py", ["a.py", "b.py"]),
    "nothing": ("", ["a.py", "b.py", "sub/c.py"]),
}


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("text", "left"), IGNORED.values(), ids=IGNORED)
def test_what_airflowignore_names_is_left_alone(folder, monkeypatch, text, left, relative):
    for name in ("a.py", "b.py", "sub/c.py"):
        write(folder / name, one_dag(name.replace("/", ".")))
    write(folder / ".airflowignore", text)
    monkeypatch.chdir(folder)
    found = DagFolder("." if relative else folder)
    assert [str(Path(dag.fileloc).relative_to(folder)) for dag in found.dags.values()] == left


def test_the_nearest_airflowignore_decides_and_a_change_of_it_counts(folder):
    for name in ("a.py", "sub/a.py", "sub/b.py"):
        write(folder / name, one_dag(name.replace("/", ".")))
    write(folder / ".airflowignore", "a.py\n")
    write(folder / "sub" / ".airflowignore", "!a.py\nb.py\n")
    found = DagFolder(folder)
    assert list(found.dags) == ["sub.a.py"]
    (folder / ".airflowignore").unlink()
    assert found.refresh()
    assert sorted(found.dags) == ["a.py", "sub.a.py"]


def test_a_pattern_that_means_nothing_is_an_error_with_its_line(folder):
    write(folder / "a.py", one_dag("a"))
    path = write(folder / ".airflowignore", "a.py\n!\n")
    found = DagFolder(folder)
    assert [(error.path, error.line) for error in found.errors] == [(str(path), 2)]
    assert list(found.dags) == ["a"]


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    write(tmp_path / "elsewhere" / "a.py", one_dag("a"))
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "broken.py").symlink_to(tmp_path / "nowhere.py")
    found = DagFolder(folder)
    assert (list(found.dags), found.errors) == (["a"], [])
    change(tmp_path / "elsewhere" / "a.py", one_dag("b"))
    assert found.refresh()
    assert list(found.dags) == ["b"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(folder):
    write(folder / "a.py", one_dag("a"))
    secret = folder / "secret"
    secret.mkdir(mode=0)
    assert [(error.path, error.reason) for error in DagFolder(folder).errors] == [
        (str(secret), "cannot be read: Permission denied")
    ]


def test_what_each_file_has_is_reported_with_the_time_it_took(folder):
    write(folder / "a.py", one_dag("a"))
    write(folder / "broken.py", "dag = 1 / 0")
    found = {Path(file.path).name: file for file in DagFolder(folder).report()}
    assert {name: file.dag_ids for name, file in found.items()} == {"a.py": ["a"], "broken.py": []}
    assert all(0 < file.seconds < 60 for file in found.values())


def test_a_package_file_needs_no_dag(folder):
    write(folder / "__init__.py", '"""DAG files of the team."""')
    write(folder / "good.py", one_dag("good"))
    found = DagFolder(folder)
    assert (len(found.dags), found.errors) == (1, [])
