"""What every metadata database must do: in memory, in a file and on a PostgreSQL server.

Transactions, transitions one by one, attempts that hold what they run, instants, and several who write.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from textwrap import dedent
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.errors import BackfillError, StateError
from etlkit.runs import clear_run, insert_run
from etlkit.runtime import TaskRunner, Work
from etlkit.states import RUN_TRANSITIONS, TASK_TRANSITIONS, DagRunState, DagRunType, TaskInstanceState
from etlkit.store import Conflict, Store, instant
from tests.engine import DAY, HOUR, Do, World, at, make_dag

NOW = at(1)


def add_run(store, dag=None, date=NOW):
    """A queued run of a DAG of two tasks, and its task instances by id."""
    with store.transaction():
        run = insert_run(
            store,
            dag or make_dag(edges="a >> b"),
            DagRunType.SCHEDULED,
            logical_date=date,
            data_interval=(date, date + DAY),
            run_after=date + DAY,
            now=NOW,
        )
    return run, {task.task_id: task for task in store.task_instances(run.id)}


def add_queued(store):
    """The id of a task instance that is queued."""
    _, tasks = add_run(store)
    put(store, tasks["a"], "queued")
    return tasks["a"].id


def put(store, task, state):
    """Bring a task instance into a state, past all rules."""
    store.run_sql("UPDATE task_instance SET state = :state WHERE id = :id", {"state": state, "id": task.id})


# --- transactions -----------------------------------------------------------------------------------------------------


def test_an_error_in_a_transaction_undoes_all_of_it(store):
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.set_pool("p", 3)
        store.register_dag("d", paused=False, fileloc=None, schedule="@daily", now=NOW)
        _ = 1 / 0
    assert (store.pools(), store.paused()) == ({"default_pool": 128}, {})


def test_a_transaction_that_was_undone_leaves_the_store_usable(store):
    with pytest.raises(KeyboardInterrupt), store.transaction():
        raise KeyboardInterrupt
    with store.transaction():
        store.set_pool("p", 3)
    assert store.pools()["p"] == 3


@pytest.mark.parametrize("moment", ["BEGIN", "COMMIT"])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_either_end_of_a_transaction_leaves_none_open(
    open_store, shared_url, monkeypatch, moment, after
):
    store, execute = open_store(shared_url), Store._execute

    def interrupted(self, sql, values):
        if sql.startswith(moment):
            if after:
                execute(self, sql, values)
            raise KeyboardInterrupt
        return execute(self, sql, values)

    monkeypatch.setattr(Store, "_execute", interrupted)
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.set_pool("p", 3)
    monkeypatch.undo()
    with store.transaction():
        store.set_pool("q", 4)
    expected = {"default_pool": 128, "q": 4, **({"p": 3} if moment == "COMMIT" and after else {})}
    assert open_store(shared_url).pools() == expected


def test_a_transaction_inside_another_is_refused_and_the_outer_one_is_undone(store):
    with pytest.raises(RuntimeError, match="already open"), store.transaction():
        store.set_pool("p", 3)
        with store.transaction():
            pass
    assert "p" not in store.pools()


def test_nothing_of_a_transaction_is_seen_from_outside_before_it_ends(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    with one.transaction():
        one.set_pool("p", 3)
        assert "p" not in two.pools()
    assert two.pools()["p"] == 3


# --- states -----------------------------------------------------------------------------------------------------------

TASK_STATES = [None, *TaskInstanceState]


@pytest.mark.parametrize("old", TASK_STATES)
def test_task_transitions_one_by_one(store, old):
    _, tasks = add_run(store)
    for new in TASK_STATES:
        put(store, tasks["a"], old)
        allowed = new in TASK_TRANSITIONS[old]
        with nullcontext() if allowed else pytest.raises(StateError), store.transaction():
            store.set_task_states({tasks["a"].id: (old, new)}, NOW)
        assert store.task_instance(tasks["a"].id).state == (new if allowed else old)


@pytest.mark.parametrize("old", DagRunState)
def test_run_transitions_one_by_one(store, old):
    run, _ = add_run(store)
    for new in DagRunState:
        store.run_sql("UPDATE dag_run SET state = :state", {"state": old})
        allowed = new in RUN_TRANSITIONS[old]
        with nullcontext() if allowed else pytest.raises(StateError), store.transaction():
            store.set_run_state(run.id, old, new, NOW)
        assert store.run("d", run.run_id).state == (new if allowed else old)


def test_a_change_from_a_state_that_it_has_no_more_is_a_conflict_and_undoes_the_rest(store):
    _, tasks = add_run(store)
    put(store, tasks["b"], "scheduled")
    with pytest.raises(Conflict, match="1 task instances are not without state"), store.transaction():
        store.set_task_states({task.id: (None, "scheduled") for task in tasks.values()}, NOW)
    assert {store.task_instance(task.id).state for task in tasks.values()} == {None, "scheduled"}


def test_a_path_is_checked_step_by_step_and_written_once(store):
    _, tasks = add_run(store)
    with store.transaction():
        store.set_task_states({tasks["a"].id: (None, "scheduled", "queued")}, at(2))
    assert store.task_instance(tasks["a"].id)[4:10] == ("queued", 0, 0, "default_pool", 1, at(2))
    with pytest.raises(StateError, match="'skipped' to 'queued'"), store.transaction():
        store.set_task_states({tasks["b"].id: (None, "skipped", "queued")}, NOW)


def test_a_run_that_is_in_another_state_by_now_is_a_conflict(store):
    run, _ = add_run(store)
    with store.transaction():
        store.set_run_state(run.id, "queued", "running", NOW)
    with pytest.raises(Conflict), store.transaction():
        store.set_run_state(run.id, "queued", "running", NOW)


def test_the_moments_of_a_run(store):
    run, _ = add_run(store)
    with store.transaction():
        store.set_run_state(run.id, "queued", "running", at(2))
        store.set_run_state(run.id, "running", "failed", at(3))
    row = store.run("d", run.run_id)
    assert (row.queued_at, row.start_date, row.end_date) == (NOW, at(2), at(3))
    with store.transaction():
        store.set_run_state(run.id, "failed", "queued", at(4))
    row = store.run("d", run.run_id)
    assert (row.queued_at, row.start_date, row.end_date) == (at(4), at(2), None)


# --- attempts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def attempt(store):
    """An attempt that was begun: its task instance, and what ends it."""
    _, tasks = add_run(store)
    pk = tasks["a"].id
    put(store, tasks["a"], "queued")
    assert store.start_attempt(pk, 1, "mine", NOW, "host", 42)

    def finish(**kwargs):
        return store.finish_attempt(pk, **{"try_number": 1, "token": "mine", "state": "success", "now": NOW, **kwargs})

    return pk, finish


def test_an_attempt_is_taken_once(store, attempt):
    pk, _ = attempt
    assert not store.start_attempt(pk, 1, "other", NOW, "host", 43)
    assert store.task_instance(pk).state == "running"


@pytest.mark.parametrize("wrong", [{"token": "other"}, {"try_number": 2}, {"token": ""}])
def test_an_attempt_that_holds_its_task_instance_no_more_changes_nothing(store, attempt, wrong):
    pk, finish = attempt
    before = store.task_instance(pk)
    assert not finish(**wrong)
    assert store.task_instance(pk) == before
    assert finish()


def test_an_attempt_ends_once(store, attempt):
    pk, finish = attempt
    assert finish(state="failed", error="ValueError: no")
    assert not finish()
    assert store.task_instance(pk).state == "failed"


@pytest.mark.parametrize("took_it", ["clear", "repeat_lost_attempt", "skip"])
def test_what_was_taken_away_while_it_ran_stays_away(store, attempt, took_it):
    pk, finish = attempt
    with store.transaction():
        match took_it:
            case "clear":
                store.clear([(pk, 0)], NOW)
            case "repeat_lost_attempt":
                store.repeat_lost_attempt(store.task_instance(pk), NOW)
            case "skip":
                store.set_task_states({pk: ("running", "skipped")}, NOW)
    before = store.task_instance(pk)
    assert not finish()
    assert store.task_instance(pk) == before


def test_a_late_attempt_does_not_end_the_one_that_took_its_place(store, attempt):
    pk, finish = attempt
    with store.transaction():
        store.repeat_lost_attempt(store.task_instance(pk), NOW)
        store.set_task_states({pk: ("scheduled", "queued")}, NOW)
        assert store.start_attempt(pk, 2, "new", NOW, "host", 44)
    assert not finish()
    assert store.task_instance(pk).state == "running"
    assert finish(try_number=2, token="new")


def test_a_message_that_is_delivered_twice_runs_the_task_once(store):
    ran = []
    dag = make_dag(tasks=[Do("a", lambda context: ran.append(1))])
    clock = World().clock
    run, tasks = add_run(store, dag)
    put(store, tasks["a"], "queued")
    works = [Work(tasks["a"].id, dag, run, dag.get_task("a"), -1, 1, 0, None) for _ in range(2)]
    results = [TaskRunner(store, clock).run(work) for work in works]
    assert ([result.state for result in results], ran) == (["success", None], [1])


def test_a_lost_attempt_is_kept_as_failed_and_uses_up_no_retry(store, attempt):
    pk, _ = attempt
    task = store.task_instance(pk)
    with store.transaction():
        store.repeat_lost_attempt(task, at(2))
    again = store.task_instance(pk)
    assert (again.state, again.try_number, again.max_tries, again.lost_attempts) == ("scheduled", 1, 1, 1)
    assert (again.end_date, again.error) == (None, None)
    (kept,) = store.history(task.dag_run_id)
    assert kept == ("a", -1, 1, "failed", NOW, at(2), "its process died, or was killed")


def test_an_attempt_that_was_queued_and_not_begun_is_simply_queued_again(store):
    run, tasks = add_run(store)
    put(store, tasks["a"], "queued")
    with store.transaction():
        store.repeat_lost_attempt(store.task_instance(tasks["a"].id), NOW)
    again = store.task_instance(tasks["a"].id)
    assert (again.state, again.max_tries, again.lost_attempts, store.history(run.id)) == ("scheduled", 0, 0, [])


def test_a_clear_forgets_xcoms_and_keeps_the_try(store, attempt):
    pk, finish = attempt
    run_pk = store.task_instance(pk).dag_run_id
    finish(skips=["b"], error="odd")
    with store.transaction():
        for task_id in "ab":
            store.push_xcom(run_pk, task_id, -1, "k", "1", NOW)
        assert store.clear([(pk, 2)], NOW) == 1
    task = store.task_instance(pk)
    assert (task.state, task.try_number, task.max_tries, task.skips, task.error) == (None, 1, 3, None, None)
    assert (task.start_date, task.end_date, task.queued_at) == (None, None, None)
    assert (store.pull_xcom(run_pk, "a", "k"), store.pull_xcom(run_pk, "b", "k")) == ([], [(-1, "1")])
    assert [(number, state, error) for _, _, number, state, _, _, error in store.history(run_pk)] == [
        (1, "success", "odd")
    ]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_of_a_date_or_id_that_is_taken_is_not_made(store):
    run, _ = add_run(store)
    again = {"run_type": "manual", "data_interval": None, "run_after": NOW, "now": NOW}
    with store.transaction():
        assert store.create_run("d", "another", logical_date=NOW, **again) is None
        assert store.create_run("d", run.run_id, logical_date=at(9), **again) is None
        assert store.create_run("other", run.run_id, logical_date=NOW, **again) is not None
    assert len(store.runs("d")) == 1


def test_runs_are_found_by_their_date_id_state_and_place(store):
    rows = [add_run(store, date=at(day))[0] for day in (3, 1, 2)]
    with store.transaction():
        store.set_run_state(rows[0].id, "queued", "failed", NOW)
    assert [run.logical_date.day for run in store.runs("d")] == [1, 2, 3]
    assert [run.logical_date.day for run in store.runs(states=["failed"])] == [3]
    assert store.run_at("d", at(2)) == rows[2] == store.run("d", rows[2].run_id)
    assert store.last_scheduled_run("d").logical_date == at(3)
    assert store.previous_run(rows[0], scheduled_only=True) == rows[2]
    assert store.previous_run(rows[1], scheduled_only=False) is None
    assert (store.run("d", "nope"), store.run_at("e", at(2)), store.runs("e")) == (None, None, [])


def test_with_a_run_everything_that_hangs_on_it_goes(store, attempt):
    pk, finish = attempt
    with store.transaction():
        finish(state="up_for_retry", not_before=NOW)
        store.push_xcom(store.task_instance(pk).dag_run_id, "a", -1, "k", "1", NOW)
    store.run_sql("DELETE FROM dag_run")
    for table in ("task_instance", "task_instance_history", "xcom"):
        assert store.run_sql(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)


def test_a_run_without_a_date_is_never_where_the_schedule_stands(store):
    dated, _ = add_run(store)
    with store.transaction():
        store.create_run(
            "d", "undated", run_type="scheduled", logical_date=None, data_interval=None, run_after=NOW, now=NOW
        )
    assert store.last_scheduled_run("d") == dated


def test_the_conf_of_a_run_comes_back_as_it_was(store):
    conf = {"airports": ["JFK", "인천"], "limit": None, "nested": {"quote": "'\"%s :now"}}
    with store.transaction():
        run = store.create_run(
            "d", "r", run_type="manual", logical_date=None, data_interval=None, run_after=NOW, now=NOW, conf=conf
        )
    assert store.run("d", "r") == run
    assert run.conf == conf


# --- instants ---------------------------------------------------------------------------------------------------------

INSTANTS = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001 (Hypothesis adds the zone)
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))]),
)


@given(st.lists(INSTANTS, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_instants_come_back_as_they_were_and_sort_as_time_does(store, moments):
    store.run_sql("DELETE FROM decision")
    for moment in moments:
        store.run_sql("INSERT INTO decision (at, dag_id, run_id) VALUES (:at, '', '')", {"at": moment})
    rows = [instant(value) for (value,) in store.run_sql("SELECT at FROM decision ORDER BY at")]
    assert rows == sorted(moments)
    assert all(row.tzinfo == UTC for row in rows)


def test_rows_have_aware_instants_in_utc(store):
    zone = timezone(timedelta(hours=9))
    run, _ = add_run(store, date=datetime(2013, 1, 1, 9, tzinfo=zone))
    assert (run.logical_date, run.logical_date.tzinfo) == (at(1), UTC)


# --- one file, several who write --------------------------------------------------------------------------------------


def test_changes_of_another_connection_are_noticed_once(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    one.changed_elsewhere()
    assert not one.changed_elsewhere()
    with two.transaction():
        two.set_pool("p", 1)
    assert [one.changed_elsewhere(), one.changed_elsewhere()] == [True, False]
    with one.transaction():
        one.run_sql("UPDATE pool SET slots = 2")
    assert not one.changed_elsewhere()


def test_what_workers_write_is_no_news(open_store, shared_url):
    one, worker = open_store(shared_url), open_store(shared_url)
    task = add_queued(one)
    one.changed_elsewhere()
    with worker.transaction():
        assert worker.start_attempt(task, 1, "token", NOW, "host", 42)
    assert worker.beat(task, "token", NOW)
    with worker.transaction():
        assert worker.finish_attempt(task, try_number=1, token="token", state="success", now=NOW)
    assert not one.changed_elsewhere()
    with worker.transaction():
        worker.announce()
    assert one.changed_elsewhere()


def test_an_attempt_shows_that_it_is_alive_only_while_it_holds_its_task_instance(store):
    task = add_queued(store)
    assert store.start_attempt(task, 1, "token", NOW, "host", 42)
    later = NOW + timedelta(seconds=5)
    assert [store.beat(task, token, later) for token in ("token", "another")] == [True, False]
    beats = store.run_sql("SELECT last_heartbeat_at FROM task_instance WHERE id = :id", {"id": task}).fetchone()
    assert instant(beats[0]) == later
    assert store.finish_attempt(task, try_number=1, token="token", state="success", now=later)
    assert not store.beat(task, "token", later)


def test_an_order_that_comes_twice_is_obeyed_once(store):
    task = add_queued(store)
    assert store.start_attempt(task, 1, "token", NOW, "host", 42)
    store.finish_attempt(task, try_number=1, token="token", state="up_for_retry", now=NOW)
    store.set_task_states({task: ("up_for_retry", "scheduled", "queued")}, NOW)
    assert not store.start_attempt(task, 1, "again", NOW, "host", 43)
    assert store.start_attempt(task, 2, "second", NOW, "host", 43)


def test_changes_through_the_same_store_are_noticed_when_it_is_told(store):
    store.changed_elsewhere()
    store.touched()
    assert [store.changed_elsewhere(), store.changed_elsewhere()] == [True, False]


def test_a_dag_keeps_its_pause_when_it_is_seen_again(store):
    with store.transaction():
        for paused in (True, False):
            store.register_dag("d", paused=paused, fileloc="f.py", schedule="@daily", now=NOW)
    assert store.paused() == {"d": True}
    with store.transaction():
        assert store.set_paused("d", False)
        assert not store.set_paused("nope", False)
    assert store.paused() == {"d": False}


OTHER_PROCESS = dedent(
    """
    import sys
    from datetime import UTC, datetime
    from etlkit.dag import DAG, BaseOperator
    from etlkit.runs import clear_run, trigger_run
    from etlkit.store import Store

    with DAG("d", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        BaseOperator("a")
    store, now = Store(sys.argv[1]), datetime(2013, 1, 1, tzinfo=UTC)
    for command in map(str.strip, sys.stdin):
        if command == "trigger":
            trigger_run(store, dag, now=now, run_id="by_hand")
        elif command == "clear":
            clear_run(store, dag, store.run("d", "by_hand"), now=now)
        else:
            with store.transaction():
                store.set_paused("d", command == "pause")
        print("done", flush=True)
    """
)


def test_another_process_triggers_pauses_and_clears_while_a_scheduler_lives(shared_url):
    world = World(make_dag(edges="a", schedule="@daily", catchup=True), url=shared_url, now=at(1))
    command = [sys.executable, "-c", OTHER_PROCESS, shared_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

        def tell(word):
            other.stdin.write(word + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"

        tell("trigger")
        world.run_until(at(1, 1))
        assert [(run.run_id, run.state) for run in world.runs()] == [("by_hand", "success")]
        tell("pause")
        assert len(world.run_until(at(4)).runs()) == 1
        tell("clear")
        assert world.run_until(at(4)).runs()[0].state == "queued"
        tell("unpause")
        world.run_until(at(4))
        assert [(run.run_type, run.state) for run in world.runs()] == [
            ("manual", "success"),
            *[("scheduled", "success")] * 2,
        ]
        assert world.tries(world.runs()[0])["a"] == 2
        other.stdin.close()


def test_several_processes_may_make_the_tables_at_the_same_moment(open_store, new_url):
    script = "import sys; from etlkit.store import Store; sys.stdin.read(); print(Store(sys.argv[1]).pools())"
    command = [sys.executable, "-c", script, new_url]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        child.stdin.close()
    assert [child.stdout.read() for child in children] == ["{'default_pool': 128}\n"] * 3
    assert [child.wait() for child in children] == [0, 0, 0]
    for child in children:
        child.stdout.close()
    assert open_store(new_url).run_sql("SELECT COUNT(*) FROM alembic_version").fetchone() == (1,)


# --- what cannot be a metadata database -------------------------------------------------------------------------------


def test_names_with_quotes_are_only_names(store):
    name = "a'; DROP TABLE dag; --\"한글"
    with store.transaction():
        store.register_dag(name, paused=False, fileloc=None, schedule="", now=NOW)
        store.set_pool(name, 1)
    assert (store.paused(), store.pools()[name]) == ({name: False}, 1)


def test_slot_holders_are_those_that_are_active(store):
    run, tasks = add_run(store)
    with store.transaction():
        store.set_run_state(run.id, "queued", "running", NOW)
        store.set_task_states({tasks["a"].id: (None, "scheduled", "queued")}, NOW + HOUR)
    assert [holder.task_id for holder in store.slot_holders()] == ["a"]
    assert [task.task_id for task in store.lost_attempts()] == ["a"]


def test_names_sort_alike_everywhere(store):
    names = ["default_pool", "Z", "a", "_", "é", "B", "가", "a b", "a-b"]
    with store.transaction():
        for name in names:
            store.set_pool(name, 1)
    assert list(store.pools()) == sorted(names)


# --- several who write at the same moment -----------------------------------------------------------------------------


def meanwhile(action):
    """Do something in a thread of its own, which may have to wait for a lock; its future."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(action)
    pool.shutdown(wait=False)
    return future


@pytest.mark.parametrize("undone", [False, True])
def test_a_run_that_two_make_is_made_once(open_store, shared_url, undone):
    one, two = open_store(shared_url), open_store(shared_url)
    try:
        with one.transaction():
            made = insert_run_of(one)
            second = meanwhile(lambda: transactionally(two, insert_run_of))
            if undone:
                raise ZeroDivisionError
    except ZeroDivisionError:
        made = None
    assert made is not None or undone
    assert (second.result(60) is not None) == undone
    assert len(one.runs("d")) == 1


def insert_run_of(store):
    return store.create_run(
        "d", "r", run_type="scheduled", logical_date=NOW, data_interval=None, run_after=NOW, now=NOW
    )


def transactionally(store, action):
    with store.transaction():
        return action(store)


def test_an_attempt_that_ends_while_it_is_cleared_changes_nothing(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    run, tasks = add_run(one)
    task = tasks["a"]
    put(one, task, "queued")
    one.start_attempt(task.id, 1, "mine", NOW, "host", 42)
    with one.transaction():
        one.hold(run.id)
        one.clear([(task.id, 0)], NOW)
        ended = meanwhile(lambda: two.finish_attempt(task.id, try_number=1, token="mine", state="success", now=NOW))
    assert ended.result(60) is False
    assert one.task_instance(task.id).state is None


def test_a_clear_that_comes_while_an_attempt_ends_clears_it(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    dag = make_dag(edges="a")
    run, tasks = add_run(one, dag)
    pk = tasks["a"].id
    put(one, tasks["a"], "queued")
    one.start_attempt(pk, 1, "mine", NOW, "host", 42)
    with one.transaction():
        assert one.finish_attempt(pk, try_number=1, token="mine", state="success", now=NOW)
        cleared = meanwhile(lambda: clear_run(two, dag, run, now=NOW))
    assert [task.id for task in cleared.result(60)] == [pk]
    assert one.task_instance(pk).state is None
    assert [state for _, _, _, state, *_ in one.history(run.id)] == ["success"]


def test_a_run_that_is_cleared_at_the_last_moment_goes_on(open_store, shared_url):
    dag = make_dag(edges="a")
    world, other = World(dag, url=shared_url), open_store(shared_url)
    run = world.trigger()
    transaction = world.store.transaction

    def transaction_just_after_a_clear():
        """The scheduler is about to end the run; before it has its turn to write, somebody clears it."""
        if world.states(run) == {"a": "success"} and world.row(run).state == "running":
            world.store.transaction = transaction
            clear_run(other, dag, world.row(run), now=NOW)
        return transaction()

    world.store.transaction = transaction_just_after_a_clear
    world.run_until(NOW + DAY)
    assert (world.row(run).state, world.tries(run)) == ("success", {"a": 2})


def test_of_two_backfills_that_are_made_at_once_one_is_refused(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    dag = make_dag(edges="a", schedule="@daily")
    plan = plan_backfill(dag, at(1), at(3), now=at(9))
    start = Barrier(2)

    def create(store):
        start.wait(60)
        try:
            return create_backfill(store, dag, plan, now=at(9))
        except BackfillError as error:
            return str(error)

    results = [future.result(60) for future in [meanwhile(lambda s=s: create(s)) for s in (one, two)]]
    (number,) = (result for result in results if isinstance(result, int))
    (refusal,) = (result for result in results if isinstance(result, str))
    assert refusal.startswith(f"DAG 'd' has a backfill that is not complete, number {number}")
    assert len(one.runs("d")) == 3


def test_what_was_undone_is_not_noticed_elsewhere(open_store, shared_url):
    one, two = open_store(shared_url), open_store(shared_url)
    one.changed_elsewhere()
    with pytest.raises(ZeroDivisionError), two.transaction():
        two.set_pool("p", 1)
        _ = 1 / 0
    assert not one.changed_elsewhere()
