"""DAGs: building them, their order, and everything that is refused while they are written."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.config import Config, conf
from etlkit.dag import (
    DAG,
    BaseOperator,
    Label,
    TaskGroup,
    XComArg,
    chain,
    chain_linear,
    cross_downstream,
    find_references,
    get_current_context,
    priority_weights,
)
from etlkit.errors import AirflowException, CycleError, DagError, DuplicateTaskIdFound, TaskNotFound, XComError
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import PythonOperator

START = datetime(2024, 1, 1, tzinfo=UTC)


def tasks(names):
    return [EmptyOperator(task_id=name) for name in names]


def edges(dag):
    return sorted(f"{tail} {head}" for tail, head in dag.graph.edges)


class Ti:
    """The part of a task instance that references need: what was pushed."""

    def __init__(self, **pushed):
        self.pushed = pushed

    def xcom_pull(self, task_ids, *, key, default=None):
        return self.pushed.get(f"{task_ids}.{key}", default)


# --- arrows


def test_arrows_lists_and_directions():
    with DAG("d") as dag:
        a, b, c, d, e = tasks("abcde")
        assert (a >> [b, c]) == [b, c]
        [b, c] >> d
        e << d
    assert edges(dag) == ["a b", "a c", "b d", "c d", "d e"]
    assert a.downstream_task_ids == {"b", "c"}
    assert d.upstream_task_ids == {"b", "c"}
    assert [task.task_id for task in dag.roots] == ["a"]
    assert [task.task_id for task in dag.leaves] == ["e"]


def test_a_list_on_the_left_of_the_backward_arrow():
    with DAG("d") as dag:
        a, b, c = tasks("abc")
        [b, c] << a
    assert edges(dag) == ["a b", "a c"]


def test_the_same_edge_twice_is_one():
    with DAG("d") as dag:
        a, b = tasks("ab")
        a >> b
        a >> b
    assert edges(dag) == ["a b"]


def test_labels_are_kept_on_the_edges():
    with DAG("d") as dag:
        a, b, c = tasks("abc")
        a >> Label("if ready") >> [b, c]
    assert dict(dag.graph.edges) == {("a", "b"): {"label": "if ready"}, ("a", "c"): {"label": "if ready"}}


def test_a_task_outside_any_dag_joins_that_of_the_other():
    lonely = EmptyOperator(task_id="lonely")
    with DAG("d") as dag:
        (a,) = tasks("a")
    a >> lonely
    assert lonely.dag is dag
    assert edges(dag) == ["a lonely"]


def test_a_task_result_as_argument_draws_the_edge_however_deep():
    with DAG("d") as dag:
        a, b = tasks("ab")
        PythonOperator(
            task_id="c", python_callable=print, op_args=[{"k": (a.output,)}], op_kwargs={"sep": [b.output["x"]]}
        )
    assert edges(dag) == ["a c", "b c"]


def test_a_task_result_in_text_is_its_template():
    task = EmptyOperator(task_id="a")
    assert f"echo {task.output}" == "echo {{ task_instance.xcom_pull(task_ids='a') }}"
    assert str(task.output["n"]) == "{{ task_instance.xcom_pull(task_ids='a', key='n') }}"


def test_a_task_result_resolves_to_what_was_pushed():
    task = EmptyOperator(task_id="a")
    context = {"ti": Ti(**{"a.return_value": [1], "a.n": None})}
    assert task.output.resolve(context) == [1]
    assert task.output["n"].resolve(context) is None
    assert EmptyOperator(task_id="b").output.resolve(context) is None
    with pytest.raises(XComError, match=r"task 'a' pushed nothing under 'm'; set multiple_outputs=True"):
        task.output["m"].resolve(context)


def test_a_task_result_cannot_be_looped_over_before_there_is_one():
    with pytest.raises(DagError, match="has no value yet"):
        list(EmptyOperator(task_id="a").output)


def test_a_param_resolves_to_the_runs():
    dag = DAG("d")
    param = dag.param("n", 3)
    assert dag.params == {"n": 3}
    assert param.resolve({"params": {"n": 5}}) == 5
    assert list(find_references([{"k": param}])) == [param]


# --- what an arrow refuses


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("b", r"unknown upstream or downstream 'b' \(str\): not a task or group; write the task itself"),
        (None, r"unknown upstream or downstream None \(NoneType\): not a task or group"),
        (5, r"unknown upstream or downstream 5 \(int\)"),
        (print, r"call it first"),
        ([["nested"]], r"unknown upstream or downstream \['nested'\] \(list\)"),
    ],
)
@pytest.mark.parametrize("draw", [lambda a, end: a >> end, lambda a, end: a << end, lambda a, end: end >> a, chain])
def test_an_end_that_is_no_task(end, message, draw):
    with DAG("d"):
        (a,) = tasks("a")
        with pytest.raises(DagError, match=message):
            draw(a, end)


def test_a_dag_is_no_end():
    with DAG("d") as dag:
        (a,) = tasks("a")
        with pytest.raises(DagError, match="not a task or group"):
            a >> dag


def test_an_edge_stays_in_one_dag():
    with DAG("one"):
        (a,) = tasks("a")
    with DAG("two"):
        (b,) = tasks("b")
    with pytest.raises(DagError, match="'a' is in DAG 'one' and 'b' in 'two'; an edge stays inside one DAG"):
        a >> b
    with pytest.raises(DagError, match="task 'a' is in DAG 'one' already; create another for 'two'"):
        b.dag.add_task(a)


def test_two_tasks_in_no_dag():
    a, b = tasks("ab")
    with pytest.raises(DagError, match="'a' >> 'b': neither is in a DAG; write them inside `with DAG`"):
        a >> b
    with pytest.raises(DagError, match="task 'a' is in no DAG yet"):
        _ = a.upstream_task_ids


def test_a_self_edge():
    with DAG("d"):
        (a,) = tasks("a")
        with pytest.raises(CycleError, match="DAG 'd' has a cycle: a >> a") as error:
            a >> a
    assert error.value.cycle == ["a", "a"]


def test_a_cycle_is_named():
    with pytest.raises(CycleError, match=r"DAG 'd' has a cycle: .*; remove one of these edges") as error, DAG("d"):
        a, b, c, d = tasks("abcd")
        a >> b >> c >> a
        c >> d
    assert error.value.cycle[0] == error.value.cycle[-1]
    assert set(error.value.cycle) == {"a", "b", "c"}


def test_a_cycle_is_found_in_a_dag_that_was_written_without_a_block():
    dag = DAG("d")
    a, b = EmptyOperator(task_id="a", dag=dag), EmptyOperator(task_id="b", dag=dag)
    a >> b >> a
    with pytest.raises(CycleError):
        dag.topological_generations()


def test_an_error_inside_the_block_is_not_hidden_by_a_cycle():
    with pytest.raises(ZeroDivisionError), DAG("d"):
        a, b = tasks("ab")
        a >> b >> a
        _ = 1 / 0


def test_labels_stand_between_tasks():
    with DAG("d"):
        a, b = tasks("ab")
        with pytest.raises(DagError, match=r"label '[xy]' stands next to another label"):
            a >> Label("x") >> Label("y") >> b


# --- chains


def test_chain_pairs_lists_of_one_length():
    with DAG("d") as dag:
        a, b, c, d, e, f = tasks("abcdef")
        chain(a, [b, c], [d, e], f)
    assert edges(dag) == ["a b", "a c", "b d", "c e", "d f", "e f"]


def test_chain_with_labels():
    with DAG("d") as dag:
        a, b, c = tasks("abc")
        chain(a, [Label("x"), Label("y")], [b, c])
    assert {head: label for _, head, label in dag.graph.edges(data="label")} == {"b": "x", "c": "y"}


def test_chain_linear_and_cross_downstream_connect_every_one_to_every_one():
    with DAG("d") as dag:
        a, b, c, d = tasks("abcd")
        chain_linear([a, b], [c, d])
    assert edges(dag) == ["a c", "a d", "b c", "b d"]
    with DAG("d") as dag:
        a, b, c, d = tasks("abcd")
        cross_downstream([a, b], [c, d])
    assert edges(dag) == ["a c", "a d", "b c", "b d"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda a, b: chain([a, b], [a]), "chain: neighbouring lists must be of one length, not 2 and 1"),
        (lambda a, b: chain_linear(a), "chain_linear has nothing to connect: 1 ends"),
        (lambda a, b: chain_linear(a, Label("x"), b), "chain_linear takes no labels"),
        (lambda a, b: cross_downstream(a, [b]), "cross_downstream takes a list of tasks first"),
    ],
)
def test_chains_that_cannot_be(draw, message):
    with DAG("d"):
        a, b = tasks("ab")
        with pytest.raises(DagError, match=message):
            draw(a, b)


# --- groups


def test_a_group_is_entered_at_its_roots_and_left_at_its_leaves():
    with DAG("d") as dag:
        a, z = tasks("az")
        with TaskGroup("g") as g:
            b, _ = tasks("bc")
            with TaskGroup("h") as h:
                d, e = tasks("de")
                d >> e
            b >> h
        a >> g >> z
    assert edges(dag) == ["a g.b", "a g.c", "g.b g.h.d", "g.c z", "g.h.d g.h.e", "g.h.e z"]
    assert [task.task_id for task in g.tasks] == ["g.b", "g.c", "g.h.d", "g.h.e"]
    assert (g.upstream_ids, g.downstream_ids, h.upstream_ids) == ({"a"}, {"z"}, {"g.b"})
    assert list(g.children) == ["g.b", "g.c", "g.h"]


def test_a_group_without_prefix():
    with DAG("d") as dag, TaskGroup("g", prefix_group_id=False):
        tasks("a")
    assert list(dag.task_dict) == ["a"]


def test_an_arrow_passes_through_an_empty_group():
    with DAG("d") as dag:
        a, b = tasks("ab")
        a >> TaskGroup("g") >> b
    assert edges(dag) == ["a b"]


def test_a_group_of_another_dag_is_not_this_ones():
    with DAG("outer"), TaskGroup("g"), DAG("inner") as inner:
        tasks("a")
    assert list(inner.task_dict) == ["a"]
    with (
        DAG("outer"),
        TaskGroup("g") as g,
        pytest.raises(DagError, match="task group 'g' is in DAG 'outer', not in 'inner'"),
    ):
        EmptyOperator(task_id="b", dag=inner, task_group=g)


def test_a_group_with_its_dag_as_an_argument():
    dag = DAG("d")
    with TaskGroup("g", dag=dag):
        tasks("a")
    assert list(dag.task_dict) == ["g.a"]


@pytest.mark.parametrize(
    ("group_id", "message"),
    [
        ("g.h", "group_id 'g.h' may hold no dot"),
        ("g h", "group_id 'g h' may hold only letters"),
        ("g" * 201, "has 201 characters; 200 are allowed"),
    ],
)
def test_illegal_group_ids(group_id, message):
    with DAG("d"), pytest.raises(DagError, match=message):
        TaskGroup(group_id)


def test_a_group_needs_a_dag():
    with pytest.raises(DagError, match="task group 'g' is in no DAG"):
        TaskGroup("g")


# --- ids


@pytest.mark.parametrize(
    ("build", "taken"),
    [
        (lambda: tasks("aa"), "a"),
        (lambda: (tasks("a"), TaskGroup("a")), "a"),
        (lambda: (TaskGroup("a"), tasks("a")), "a"),
        (lambda: (TaskGroup("a"), TaskGroup("a")), "a"),
    ],
)
def test_duplicate_ids(build, taken):
    with DAG("d"), pytest.raises(DuplicateTaskIdFound, match=f"DAG 'd' already has a task {taken!r}") as error:
        build()
    assert (error.value.dag_id, error.value.task_id) == ("d", taken)


@pytest.mark.parametrize("name", ["적재", "p-q_r.s", "x" * 250, "Ünïcode", "1"])
def test_legal_ids(name):
    with DAG(name) as dag:
        EmptyOperator(task_id=name) >> EmptyOperator(task_id="한글")
    assert dag.topological_order() == [name, "한글"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("load weather", "'load weather' may hold only letters, digits, '.', '-' and '_'; try 'load_weather'"),
        ('a";DROP TABLE', "may hold only letters"),
        ("/", r"may hold only letters, digits, '.', '-' and '_'$"),
        ("", "must be a non-empty string, not ''"),
        (5, "must be a non-empty string, not 5"),
        ("x" * 251, "has 251 characters; 250 are allowed"),
    ],
)
def test_illegal_ids(name, message):
    with pytest.raises(DagError, match=f"task_id .*{message}"):
        EmptyOperator(task_id=name)
    with pytest.raises(DagError, match=f"dag_id .*{message}"):
        DAG(name)


def test_the_whole_id_of_a_task_in_a_group_is_bounded():
    with DAG("d"), TaskGroup("g" * 200), pytest.raises(DagError, match="has 261 characters"):
        EmptyOperator(task_id="x" * 60)


def test_get_task_knows_the_nearest():
    with DAG("d") as dag:
        tasks(["load", "extract"])
    assert dag.get_task("load").task_id == "load"
    with pytest.raises(TaskNotFound, match=r"DAG 'd' has no task 'lod'; did you mean 'load'\?"):
        dag.get_task("lod")


# --- dates


@pytest.mark.parametrize("what", ["start_date", "end_date"])
def test_dates_need_a_zone(what):
    naive = datetime(2024, 1, 1)  # noqa: DTZ001 (what is refused)
    with pytest.raises(DagError, match=rf"DAG 'd': {what} .* has no time zone; add tzinfo=timezone.utc"):
        DAG("d", **{what: naive})
    with pytest.raises(DagError, match=rf"task 'a': {what} .* has no time zone"):
        EmptyOperator(task_id="a", **{what: naive})
    with pytest.raises(DagError, match=f"{what} must be a datetime, not '2024-01-01'"):
        DAG("d", **{what: "2024-01-01"})


def test_the_end_is_not_before_the_start():
    with pytest.raises(DagError, match=r"DAG 'd': end_date .* is before start_date"):
        DAG("d", start_date=START, end_date=START - timedelta(seconds=1))
    with pytest.raises(DagError, match=r"task 'a': end_date .* is before start_date"):
        EmptyOperator(task_id="a", start_date=START, end_date=START - timedelta(seconds=1))
    assert DAG("d", start_date=START, end_date=START).end_date == START


def test_a_cron_is_read_in_the_zone_of_the_start():
    seoul = timezone(timedelta(hours=9))
    dag = DAG("d", start_date=START.astimezone(seoul), schedule="@daily")
    assert dag.timezone is seoul
    assert DAG("d").timezone is UTC


# --- arguments


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: EmptyOperator(task_id="a", retires=1),
            r"EmptyOperator\('a'\) has no argument 'retires'; did you mean 'retries'\?",
        ),
        (lambda: BaseOperator("a", pol="x"), r"BaseOperator\('a'\) has no argument 'pol'; did you mean 'pool'\?"),
        (lambda: PythonOperator(task_id="a"), r"PythonOperator\('a'\) needs the argument python_callable=\.\.\."),
        (lambda: EmptyOperator(), r"EmptyOperator\(\) needs the argument task_id=\.\.\."),
        (lambda: DAG("d", concurrency=3), "has no argument 'concurrency'; it is called max_active_tasks now"),
        (lambda: DAG("d", scheduel=None), r"DAG\('d'\) has no argument 'scheduel'; did you mean 'schedule'\?"),
        (lambda: DAG(), r"DAG\(\) needs the argument dag_id=\.\.\."),
        (lambda: TaskGroup("g", tootlip=""), r"TaskGroup\('g'\) has no argument 'tootlip'; did you mean 'tooltip'\?"),
        (lambda: DAG("d", default_args=[1]), r"DAG 'd': default_args must be a dict, not \[1\]"),
        (lambda: DAG("d", max_active_runs=0), "DAG 'd': max_active_runs must be a whole number of 1 or more, not 0"),
        (lambda: DAG("d", max_active_tasks=1.5), "max_active_tasks must be a whole number of 1 or more, not 1.5"),
        (lambda: DAG("d", dagrun_timeout=-1), "dagrun_timeout must be a timedelta"),
        (lambda: DAG("d", on_failure_callback="x"), "on_failure_callback must be a function"),
    ],
)
def test_arguments_that_cannot_be(build, message):
    with pytest.raises(DagError, match=message):
        build()


def test_an_operator_of_ones_own_shows_its_whole_signature():
    import inspect

    class Greet(BaseOperator):
        def __init__(self, name, *, loud=False, **kwargs):
            super().__init__(**kwargs)

    parameters = inspect.signature(Greet).parameters
    assert list(parameters)[:3] == ["name", "loud", "task_id"]
    assert parameters["retries"].default == 0
    assert "kwargs" not in parameters


def test_an_operator_that_hands_on_what_no_task_has():
    class Wrong(BaseOperator):
        def __init__(self, **kwargs):
            super().__init__(colour="red", **kwargs)

    with pytest.raises(DagError, match="task 'a': no operator has an argument 'colour'"):
        Wrong(task_id="a")


def test_an_operator_that_does_nothing_yet():
    with pytest.raises(NotImplementedError, match="BaseOperator does not say what to do"):
        BaseOperator("a").execute({})


# --- default_args


def test_default_args_go_to_tasks_and_what_is_nearest_wins():
    with DAG("d", default_args={"retries": 3, "owner": "ada"}) as dag:
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="b", retries=1)
        with TaskGroup("g", default_args={"retries": 5}):
            EmptyOperator(task_id="c")
            EmptyOperator(task_id="d", default_args={"retries": 7})
            with TaskGroup("h", default_args={"owner": "eve"}):
                EmptyOperator(task_id="e")
    assert {task_id: (task.retries, task.owner) for task_id, task in dag.task_dict.items()} == {
        "a": (3, "ada"),
        "b": (1, "ada"),
        "g.c": (5, "ada"),
        "g.d": (7, "ada"),
        "g.h.e": (5, "eve"),
    }


def test_default_args_reach_an_operators_own_arguments():
    with DAG("d", default_args={"python_callable": len, "op_args": ["abc"], "sql": "ignored"}):
        assert PythonOperator(task_id="a").execute({}) == 3


def test_default_args_reach_a_task_whose_operator_hands_nothing_on():
    class Fixed(BaseOperator):
        def __init__(self, task_id):
            super().__init__(task_id=task_id, pool="own")

    with DAG("d", default_args={"retries": 3, "pool": "theirs"}):
        task = Fixed(task_id="a")
    assert (task.retries, task.pool) == (3, "own")


def test_a_dag_argument_in_default_args_is_not_applied_and_said():
    with pytest.warns(UserWarning, match="'max_active_runs' in default_args is not applied") as warned:
        dag = DAG("d", default_args={"max_active_runs": 1})
    assert dag.max_active_runs == 16
    assert str(warned[0].message) == (
        "DAG 'd': 'max_active_runs' in default_args is not applied: default_args go to tasks; "
        "write DAG('d', max_active_runs=...)"
    )
    assert warned[0].filename == __file__


def test_the_dates_in_default_args_are_the_dags_too():
    dag = DAG("d", default_args={"start_date": START, "end_date": START})
    assert (dag.start_date, dag.end_date) == (START, START)
    naive = datetime(2024, 1, 1)  # noqa: DTZ001 (what is refused)
    with pytest.raises(DagError, match=r"DAG 'd': start_date .* has no time zone"):
        DAG("d", default_args={"start_date": naive})


def test_settings_are_the_defaults_of_the_defaults():
    conf.use(Config(environ={"ETLKIT__CORE__DEFAULT_TASK_RETRIES": "2", "ETLKIT__CORE__DEFAULT_TASK_RETRY_DELAY": "7"}))
    try:
        with DAG("d"):
            a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b", retries=0)
        outside = EmptyOperator(task_id="c")
    finally:
        conf.use(None)
    assert (a.retries, b.retries, outside.retries) == (2, 0, 2)
    assert a.retry_delay == outside.retry_delay == timedelta(seconds=7)


# --- order


@st.composite
def graphs(draw, acyclic=True):
    """Tasks t0, t1, … in an order of their own, and edges between them."""
    n = draw(st.integers(1, 12))
    names = draw(st.permutations([f"t{i}" for i in range(n)]))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] != pair[1])
    found = draw(st.lists(pairs.map(sorted).map(tuple) if acyclic else pairs, max_size=30))
    weights = draw(st.lists(st.integers(-3, 5), min_size=n, max_size=n))
    rules = draw(st.lists(st.sampled_from(["downstream", "upstream", "absolute"]), min_size=n, max_size=n))
    # The first n names in another order, so that the order of writing is not that of the graph.
    written = draw(st.permutations(range(n)))
    return names, [(names[a], names[b]) for a, b in found], [(names[i], weights[i], rules[i]) for i in written]


def written(graph, order=lambda pairs: pairs):
    _, pairs, nodes = graph
    dag = DAG("d")
    for name, weight, rule in nodes:
        BaseOperator(name, dag=dag, priority_weight=weight, weight_rule=rule)
    for tail, head in order(pairs):
        dag.get_task(tail) >> dag.get_task(head)
    return dag


@given(graphs())
def test_every_task_comes_after_what_it_waits_for(graph):
    dag = written(graph)
    place = {task_id: i for i, task_id in enumerate(dag.topological_order())}
    assert len(place) == len(dag.tasks)
    assert all(place[tail] < place[head] for tail, head in dag.graph.edges)


@given(graphs())
def test_generations_are_a_partition_by_longest_way(graph):
    dag = written(graph)
    generations = dag.topological_generations()
    assert [task_id for generation in generations for task_id in generation] == dag.topological_order()
    for depth, generation in enumerate(generations):
        for task_id in generation:
            before = dag.graph.subgraph(nx.ancestors(dag.graph, task_id) | {task_id})
            assert nx.dag_longest_path_length(before) == depth


@given(graphs())
def test_the_order_does_not_depend_on_how_the_edges_were_drawn(graph):
    assert (
        written(graph).topological_order()
        == written(graph, lambda pairs: sorted(pairs, reverse=True)).topological_order()
    )


@given(graphs(acyclic=False))
def test_a_cycle_is_always_refused_and_true(graph):
    dag = written(graph)
    if nx.is_directed_acyclic_graph(dag.graph):
        dag.topological_order()
        return
    with pytest.raises(CycleError) as error:
        dag.topological_order()
    cycle = error.value.cycle
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    assert all(dag.graph.has_edge(tail, head) for tail, head in pairwise(cycle))


@given(graphs())
def test_priority_weights_are_sums_over_all_that_can_be_reached(graph):
    dag = written(graph)
    reach = {"downstream": nx.descendants, "upstream": nx.ancestors, "absolute": lambda *_: ()}
    expected = {
        task_id: sum(dag.task_dict[t].priority_weight for t in {task_id, *reach[task.weight_rule](dag.graph, task_id)})
        for task_id, task in dag.task_dict.items()
    }
    assert priority_weights(dag) == expected


def test_a_task_written_later_is_in_the_order():
    with DAG("d") as dag:
        a, _ = tasks("ab")
    assert dag.topological_order() == ["a", "b"]
    EmptyOperator(task_id="c", dag=dag) >> a
    assert dag.topological_order() == ["b", "c", "a"]
    assert dag.topological_generations() == [["b", "c"], ["a"]]


def test_a_part_of_a_dag_has_its_edges():
    with DAG("d") as dag:
        a, b, c = tasks("abc")
        a >> b >> c
    part = dag.partial_subset(["a", "b"])
    assert edges(part) == ["a b"]
    assert part.topological_order() == ["a", "b"]
    assert dag.topological_order() == ["a", "b", "c"]


# --- retries


def test_retry_delays_without_backoff_are_the_same():
    task = BaseOperator("a", retry_delay=timedelta(minutes=1))
    assert {task.next_retry_delay(n) for n in range(1, 9)} == {timedelta(minutes=1)}


def test_retry_delays_multiply_up_to_a_day():
    task = BaseOperator("a", retry_delay=1, retry_exponential_backoff=3)
    assert [task.next_retry_delay(n).total_seconds() for n in (1, 2, 3)] == [1, 3, 9]
    assert task.next_retry_delay(10_000) == timedelta(days=1)


# --- the running task


def test_there_is_no_context_outside_a_task():
    with pytest.raises(AirflowException, match="works only inside a task that is running"):
        get_current_context()


def test_xcomarg_is_true_and_readable():
    arg = XComArg(EmptyOperator(task_id="a"), "k")
    assert arg
    assert repr(arg) == "XComArg('a', key='k')"


def test_a_group_gets_a_suffix_where_its_name_is_taken_if_it_may():
    with DAG("d") as dag:
        for _ in range(2):
            with TaskGroup("g", add_suffix_on_collision=True):
                EmptyOperator(task_id="a")
        with pytest.raises(DagError):
            TaskGroup("g")
    assert list(dag.task_dict) == ["g.a", "g__1.a"]
