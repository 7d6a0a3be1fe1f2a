"""A scheduler and a folder of DAG files that change under each other."""

from datetime import timedelta
from pathlib import Path

import pytest

from etlkit import tables
from etlkit.clock import SimulatedClock
from etlkit.dag import DAG
from etlkit.dag_folder import DagFolder
from etlkit.dag_processor import DagProcessor
from etlkit.errors import DagFileError, DuplicateDagIdFound, MetadataError
from etlkit.executors.sequential import SequentialExecutor
from etlkit.lab import Lab
from etlkit.masking import masker
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.store import Store
from tests.dag_files import change, one_dag, write
from tests.engine import at
from tests.servers import postgres

TWO_TASKS = """
    from etlkit import DAG, task

    with DAG("two"):
        @task
        def first(): return 1
        @task
        def second(value): return value * {factor}
        second(first())
"""


class Room:
    """A scheduler on a simulated clock with its DAG folder."""

    def __init__(self, folder):
        self.clock = SimulatedClock(at(1))
        self.scheduler = Scheduler(Store("sqlite://"), self.clock, SequentialExecutor())
        self.processor = DagProcessor(self.scheduler, DagFolder(folder))
        self.store = self.scheduler.store

    def look(self):
        """What the next look finds, as text."""
        self.clock.sleep(1)
        return str(self.processor.look())

    def states(self):
        """The states of the tasks of the one run."""
        (run,) = self.store.runs()
        return {task.task_id: task.state for task in self.store.task_instances(run.id)}


@pytest.fixture
def folder(tmp_path, own_imports):
    return tmp_path / "dags"


def test_files_that_come_change_break_and_go(folder):
    path = write(folder / "a.py", one_dag("a"))
    room = Room(folder)
    assert (room.look(), room.look()) == ("DAGs: 1 new", "None")
    broken = write(folder / "b.py", "1 / 0\nDAG\n")
    assert room.look() == "DAGs: none new, changed or gone; files that do not load: 1"
    assert tables.import_errors(room.store)[["filename", "line", "message"]].values.tolist() == [
        [str(broken), 1, "ZeroDivisionError: division by zero"]
    ]
    change(broken, one_dag("b"))
    changes = (room.clock.sleep(1), room.processor.look())[1]
    assert (str(changes), changes.mended) == ("DAGs: 1 new", [str(broken)])
    assert tables.import_errors(room.store).empty
    change(path, one_dag("a") + "\n")
    assert room.look() == "DAGs: 1 changed"
    path.unlink()
    assert room.look() == "DAGs: 1 gone"
    assert list(room.scheduler.dags) == ["b"]
    assert sorted(room.store.paused()) == ["a", "b"], "what is gone is not forgotten"


def test_it_looks_when_the_interval_is_over(folder):
    write(folder / "a.py", one_dag("a"))
    room = Room(folder)
    assert room.processor.look() is not None
    write(folder / "b.py", one_dag("b"))
    assert room.processor.look() is None
    room.clock.jump(room.processor.next_look)
    assert room.processor.look().new == ["b"]
    assert room.processor.next_look - room.clock.now() == timedelta(seconds=1)


def test_a_file_that_is_edited_while_its_run_is_active(folder):
    path = write(folder / "two.py", TWO_TASKS.format(factor=10))
    room = Room(folder)
    room.look()
    trigger_run(room.store, room.scheduler.dags["two"].dag, now=room.clock.now())
    while room.states().get("first") != "success":
        room.scheduler.tick()
    assert room.states()["second"] != "success"
    change(path, "1 / 0  # DAG\n")
    assert room.look() == "DAGs: 1 gone; files that do not load: 1"
    room.scheduler.settle()
    assert room.states()["second"] != "success", "it waits until the file loads"
    change(path, TWO_TASKS.format(factor=100))
    room.look()
    room.scheduler.settle()
    assert room.states() == {"first": "success", "second": "success"}
    assert tables.xcoms(room.store)["value"].tolist() == [1, 100], "it goes on with the file as it is now"
    path.unlink()
    assert room.look() == "DAGs: 1 gone"
    assert [run.state for run in room.store.runs()] == ["success"]


# --- the table of import errors ---------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "postgresql"])
def store(request):
    if request.param == "memory":
        url = "sqlite://"
    else:
        server = postgres()
        url = server.url(server.create_database("import_errors"))
    store = Store(url)
    yield store
    store.close()


def test_errors_that_stay_keep_their_time(store):
    def rows():
        frame = tables.import_errors(store)
        return [(Path(row.filename).name, row.line, row.message, row.timestamp.day) for row in frame.itertuples()]

    a, b = DagFileError("/d/a.py", "KeyError: 'a'", 3, "Traceback"), DagFileError("/d/b.py", "no DAG")
    tables.record_import_errors(store, [a, b], at(1))
    tables.record_import_errors(store, [b, a], at(2))
    assert rows() == [("a.py", 3, "KeyError: 'a'", 1), ("b.py", None, "no DAG", 1)]
    tables.record_import_errors(store, [DagFileError("/d/a.py", "KeyError: 'b'", 3, "Traceback")], at(3))
    assert rows() == [("a.py", 3, "KeyError: 'b'", 3)]
    tables.record_import_errors(store, [], at(4))
    assert rows() == []


def test_what_no_database_can_spell_and_nobody_may_see(store, folder, monkeypatch):
    monkeypatch.setattr(masker, "_secrets", frozenset({"hunter22"}))
    write(folder / "a.py", "raise ValueError('half \\ud800 and NUL \\0 and hunter22')  # DAG\n")
    tables.record_import_errors(store, DagFolder(folder).errors, at(1))
    monkeypatch.undo()
    (row,) = tables.import_errors(store).itertuples()
    assert row.message == "ValueError: half \\ud800 and NUL \\0 and ***"
    assert "hunter22" not in row.stacktrace.splitlines()[-1]


# --- in a lab ---------------------------------------------------------------------------------------------------------


def test_a_lab_loads_a_folder_and_what_changes_in_it(folder):
    write(folder / "a.py", one_dag("a"))
    broken = write(folder / "b.py", "DAG = 1 / 0\n")
    own = DAG("own")
    with Lab(start="2013-01-01") as lab:
        lab.add(own)
        with pytest.warns(UserWarning, match=r"b\.py:1: ZeroDivisionError"):
            lab.load(folder)
        assert [dag.dag_id for dag in lab.dags] == ["own", "a"]
        assert lab.import_errors()["filename"].tolist() == [str(broken)]
        assert lab.load(folder) is lab, "nothing has changed, so there is nothing to warn of"
        (folder / "a.py").unlink()
        change(broken, one_dag("b"))
        lab.load(folder)
        assert [dag.dag_id for dag in lab.dags] == ["own", "b"]
        assert lab.import_errors().empty


def test_folders_leave_each_other_s_errors_alone(tmp_path, own_imports, monkeypatch):
    files = [write(tmp_path / name / "x.py", "DAG = 1 / 0\n") for name in ("one", "two")]
    monkeypatch.chdir(tmp_path)
    with Lab(start="2013-01-01") as lab:
        for name in ("one", "two"):
            with pytest.warns(UserWarning, match="ZeroDivisionError"):
                lab.load(name)
        assert lab.import_errors()["filename"].tolist() == list(map(str, files))
        files[0].unlink()
        lab.load("one")
        assert lab.import_errors()["filename"].tolist() == [str(files[1])]


def test_a_lab_may_load_one_file_and_is_told_of_an_id_that_it_has(folder):
    path = write(folder / "a.py", one_dag("a"))
    with Lab(start="2013-01-01") as lab:
        lab.load(path, paused=True)
        assert lab.store.paused() == {"a": True}
    with Lab(start="2013-01-01") as lab, pytest.raises(DuplicateDagIdFound):
        lab.add(DAG("a")).load(path)


def test_what_an_error_kept_from_being_taken_over_is_taken_over_at_the_next_look(folder, monkeypatch):
    for name in ("a", "b"):
        write(folder / f"{name}.py", one_dag(name))
    room = Room(folder)
    add_dag = room.scheduler.add_dag

    def busy(dag, **kwargs):
        monkeypatch.setattr(room.scheduler, "add_dag", add_dag)
        raise MetadataError("busy")

    monkeypatch.setattr(room.scheduler, "add_dag", busy)
    with pytest.raises(MetadataError):
        room.processor.refresh()
    assert str(room.processor.refresh()) == "DAGs: 2 new"
    assert sorted(room.scheduler.dags) == ["a", "b"]
    assert room.processor.refresh() is None
