"""Who goes first, and that nobody who may go waits: the lines and limits alone, against a plain search."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.frontier import TaskIndex
from etlkit.slots import Slots
from tests.engine import Do, at, make_dag


class Run:
    """A running run as far as slots look at it."""

    def __init__(self, dag, pk, day=1):
        self.dag, self.index, self.active = dag, TaskIndex(dag), 0
        self.row = SimpleNamespace(id=pk, dag_id=dag.dag_id, run_after=at(day))
        self.frontier = SimpleNamespace(states=["scheduled"] * len(self.index))


def ids(taken):
    return [run.index.ids[position] for run, position in taken]


def take(slots, most=99):
    taken = list(slots.take(most))
    for run, position in taken:
        run.frontier.states[position] = "queued"
    return taken


def line_up(slots, *runs):
    for run in runs:
        for position in range(len(run.index)):
            slots.join(run, position)


def test_the_line_is_ordered_by_weight_then_age_of_the_run_then_order_of_tasks():
    dag = make_dag(tasks=[Do("a"), Do("b", priority_weight=5), Do("c")])
    old, new = Run(dag, 2, day=1), Run(dag, 1, day=2)
    slots = Slots({"default_pool": 99}, 99)
    line_up(slots, new, old)
    assert [(run.row.run_after.day, run.index.ids[i]) for run, i in slots.take(99)] == [
        (1, "b"),
        (2, "b"),
        (1, "a"),
        (1, "c"),
        (2, "a"),
        (2, "c"),
    ]


def test_no_more_are_taken_than_asked_for_and_the_rest_keep_their_places():
    slots = Slots({"default_pool": 99}, 99)
    line_up(slots, Run(make_dag(edges="a, b, c"), 1))
    assert [ids(take(slots, most)) for most in (0, 2, 5)] == [[], ["a", "b"], ["c"]]


def test_who_left_the_line_is_passed_over():
    run = Run(make_dag(edges="a, b"), 1)
    slots = Slots({"default_pool": 1}, 99)
    line_up(slots, run)
    run.frontier.states[0] = "skipped"
    assert ids(take(slots)) == ["b"]


def test_who_left_the_line_while_aside_passes_the_slot_on():
    run = Run(make_dag(edges="a, b, c", max_active_tasks=1), 1)
    slots = Slots({"default_pool": 99}, 99)
    line_up(slots, run)
    assert ids(take(slots)) == ["a"]
    run.frontier.states[1] = "skipped"
    slots.give_back(run, 0)
    assert ids(take(slots)) == ["c"]


def test_a_pool_that_is_smaller_than_what_is_used_gives_out_nothing():
    run = Run(make_dag(edges="a, b"), 1)
    slots = Slots({"default_pool": 1}, 99)
    slots.hold(run, 0)
    slots.hold(run, 1)
    assert (slots.free("default_pool"), slots.free("nowhere"), slots.any_free()) == (-1, 0, False)


TASKS = st.lists(
    st.fixed_dictionaries(
        {
            "pool": st.sampled_from(["p", "q", "nowhere"]),
            "pool_slots": st.integers(1, 3),
            "priority_weight": st.integers(1, 3),
            "max_active_tis_per_dag": st.none() | st.integers(1, 2),
        }
    ),
    min_size=1,
    max_size=5,
)


def may_go(slots, pools, parallelism, runs, active, run, position):
    """Whether the limits leave room for one more, found by counting everything."""
    task = run.index.tasks[position]
    used = sum(r.index.tasks[i].pool_slots for r, i in active if r.index.tasks[i].pool == task.pool)
    same = sum(r.index.ids[i] == task.task_id for r, i in active)
    return (
        len(active) < parallelism
        and used + task.pool_slots <= pools.get(task.pool, 0)
        and sum(r is run for r, _ in active) < run.dag.max_active_tasks
        and (task.max_active_tis_per_dag is None or same < task.max_active_tis_per_dag)
    )


@given(
    tasks=TASKS,
    pools=st.fixed_dictionaries({"p": st.integers(1, 4), "q": st.integers(0, 3)}),
    parallelism=st.integers(1, 5),
    max_active_tasks=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=150)
def test_no_limit_is_passed_and_nobody_who_may_go_is_left_waiting(tasks, pools, parallelism, max_active_tasks, data):
    dag = make_dag(tasks=[Do(f"t{n}", **told) for n, told in enumerate(tasks)], max_active_tasks=max_active_tasks)
    runs = [Run(dag, pk, day=pk) for pk in (1, 2)]
    slots, active = Slots(pools, parallelism), []
    line_up(slots, *runs)
    waiting = {(run, position) for run in runs for position in range(len(run.index))}
    while True:
        for run, position in take(slots, data.draw(st.integers(1, 9))):
            assert may_go(slots, pools, parallelism, runs, active, run, position), "a limit was passed"
            active.append((run, position))
            waiting.remove((run, position))
        for run, position in take(slots):
            assert may_go(slots, pools, parallelism, runs, active, run, position), "a limit was passed"
            active.append((run, position))
            waiting.remove((run, position))
        left = [place for place in waiting if may_go(slots, pools, parallelism, runs, active, *place)]
        assert not left, "somebody could go"
        if not active:
            break
        run, position = active.pop(data.draw(st.integers(0, len(active) - 1)))
        run.frontier.states[position] = "success"
        slots.give_back(run, position)
    assert (slots.active, sum(slots.used.values())) == (0, 0)
    assert all(run.index.tasks[i].pool_slots > pools.get(run.index.tasks[i].pool, 0) for run, i in waiting)


def test_those_held_up_by_a_limit_are_not_looked_at_again_and_again():
    """A run of a thousand ready tasks and room for one: each turn looks at one of them, not at all."""
    run = Run(make_dag(edges=", ".join(f"t{n}" for n in range(1000)), max_active_tasks=1), 1)
    slots, asked = Slots({"default_pool": 99}, 99), []
    line_up(slots, run)
    reached = slots._limit_reached
    slots._limit_reached = lambda run, position: asked.append(position) or reached(run, position)
    for turn in range(20):
        ((_, position),) = take(slots)
        assert position == turn
        asked.clear()
        slots.give_back(run, position)
        assert len(asked) <= 1
    take(slots)
    assert len(asked) <= 3
