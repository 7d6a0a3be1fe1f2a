"""What if: the same work on clusters of different shapes."""

from datetime import timedelta

import pytest

from etlkit import Nodes, what_if
from etlkit.dag import DAG
from etlkit.errors import ConfigError
from etlkit.executors.simulated import lognormal
from etlkit.operators import EmptyOperator
from tests.engine import START, Do, make_dag
from tests.test_simulated import wide

HOURLY = {"schedule": "@hourly", "catchup": True, "max_active_tasks": 100}


def seconds(answer):
    return [one.usage.seconds for one in answer]


def test_twice_the_slots_take_half_the_time_up_or_out():
    answer = what_if(wide(64), [Nodes(1), Nodes(1, slots=4), Nodes(4), Nodes(2, slots=2)], service_time=60)
    assert seconds(answer) == [3840, 960, 960, 960]
    assert [one.usage.utilisation for one in answer] == [1, 1, 1, 1]
    assert [one.most_waiting for one in answer] == [63, 60, 60, 60]


def test_the_time_of_a_chain_is_not_a_matter_of_slots():
    answer = what_if(make_dag("d", "a >> b >> c"), [Nodes(1), Nodes(100)], service_time=60)
    assert seconds(answer) == [180, 180]


def test_a_dags_own_limit_holds_whatever_the_cluster():
    answer = what_if(wide(64, max_active_tasks=16), [Nodes(1, slots=16), Nodes(64)], service_time=60)
    assert seconds(answer) == [240, 240]
    assert [one.most_waiting for one in answer] == [48, 48], "those that a limit holds up wait, too"


def test_parallelism_can_be_less_than_the_cluster_has():
    (one,) = what_if(wide(64), [Nodes(64)], service_time=60, parallelism=32)
    assert one.usage.seconds == 120


def test_more_servers_more_failures(monkeypatch):
    monkeypatch.setenv("ETLKIT__SCHEDULER__MAX_LOST_ATTEMPTS", "1000")
    like = {"mtbf": 6 * 3600.0, "mttr": 600.0, "notice": 60.0, "price": 0.5}
    clusters = [Nodes(1, slots=100, **like), Nodes(100, slots=1, **like)]
    answer = what_if(wide(250), clusters, 4, service_time=lognormal(600))
    one_large, many_small = answer.table.to_dict("records")
    assert one_large["node_failures"] <= 2
    assert many_small["node_failures"] >= 20
    for row in (one_large, many_small):
        assert row["attempts"] == row["tasks"] + row["lost"]
        assert row["failed"] == 0
        assert row["cost"] == pytest.approx(0.5 * row["nodes"] * row["makespan"] / timedelta(hours=1), rel=1e-6)


def test_the_same_question_has_the_same_answer():
    def ask():
        nodes = Nodes(4, mtbf=600, mttr=60)
        return repr(what_if(wide(100), [nodes], 2, service_time=lognormal(60), task_startup=1.5, seed=7))

    assert ask() == ask()


def test_the_moments_tell_the_queue():
    (one,) = what_if(wide(3), [Nodes(1)], service_time=60)
    assert [tuple(moment) for moment in one.moments] == [(0, 2, 1), (60, 1, 1), (120, 0, 1), (180, 0, 0)]


def test_a_schedule_runs_until_the_end_that_it_is_given():
    hourly = make_dag("d", "a", **HOURLY)
    (one,) = what_if(hourly, [Nodes(1)], 0, end="2013-01-01 03:30", service_time=60)
    assert one.states == {"success": 3}
    assert one.makespan == timedelta(hours=3, minutes=30)


def test_a_schedule_that_ends_needs_no_end():
    hourly = make_dag("d", "a", end_date=START + timedelta(hours=2), **HOURLY)
    (one,) = what_if(hourly, [Nodes(1)], 0, service_time=60)
    assert one.states == {"success": 3}
    assert one.makespan == timedelta(hours=3, minutes=1)


def test_a_schedule_that_never_ends_is_refused_unless_it_is_paused():
    hourly = make_dag("d", "a", **HOURLY)
    with pytest.raises(ConfigError, match="the schedule of 'd' never ends: give what_if an end"):
        what_if(hourly, [Nodes(1)])
    (one,) = what_if(
        hourly,
        [Nodes(2)],
        lambda lab: lab.pause().backfill(hourly, "2012-12-31 00:00", "2012-12-31 23:00", max_active_runs=2),
        start="2013-01-02",
        service_time=60,
    )
    assert one.states == {"success": 24}
    assert one.usage.seconds == 12 * 60


@pytest.mark.parametrize(
    ("clusters", "how", "message"),
    [
        ([], {}, "there is no cluster to try"),
        ([1, "x"], {}, "count must be a whole number from 1 on, not 'x'"),
        (1, {"dags": []}, r"what_if needs a DAG or a list of DAGs, not \[\]"),
        (1, {"dags": "night"}, r"what_if needs a DAG or a list of DAGs, not \['night'\]"),
        (1, {"work": -2}, "work must be a whole number from 0 on, not -2"),
        (1, {"parallelism": 0}, "parallelism must be a whole number from 1 on, not 0"),
        (1, {"sevice_time": 3}, "what_if has no argument 'sevice_time'; did you mean 'service_time'"),
        (1, {"seed": "x"}, "seed must be a whole number, not 'x'"),
    ],
)
def test_what_is_no_question(clusters, how, message):
    with pytest.raises(ConfigError, match=message):
        what_if(how.pop("dags", make_dag("d", "a")), clusters, **how)


def test_one_cluster_need_not_be_in_a_list_and_a_number_is_so_many_nodes():
    dag = make_dag("d", "a")
    assert what_if(dag, Nodes(3)).table.equals(what_if(dag, [3]).table)


def test_tasks_really_run_if_they_shall():
    flaky = Do("a", KeyError("no"))
    (real,) = what_if(make_dag("d", "a >> b", tasks=[flaky]), [Nodes(1)], run_callables=True)
    (counted,) = what_if(make_dag("d", "a >> b", tasks=[Do("a", KeyError("no"))]), [Nodes(1)])
    assert (real.failed, real.tasks, counted.failed) == (2, 2, 0)


def test_several_dags_share_a_cluster():
    with DAG("one") as one, DAG("two"):
        pass
    with DAG("one") as one:
        EmptyOperator(task_id="a")
    with DAG("two") as two:
        EmptyOperator(task_id="a")
    answer = what_if([one, two], [Nodes(1)], 2, service_time=60)
    assert seconds(answer) == [240]
    assert answer.title == "one, two, 2 runs"


def test_an_answer_shows_itself_as_text_and_as_html_and_has_a_price_if_there_is_one():
    answer = what_if(wide(2), [Nodes(1, price=0.3), Nodes(2, price=0.3)], service_time=3600)
    assert str(answer).splitlines() == [
        "what if: d, 1 run",
        "nodes  slots  makespan  speed-up  busy  most waiting  attempts  node failures  lost  failed  cost",
        "    1      1   2:00:00       1.0  100%             1         2              0     0       0  0.60",
        "    2      1   1:00:00       2.0  100%             0         2              0     0       0  0.60",
    ]
    assert answer._repr_html_().count("<tr>") == 3
    assert str(answer[:1]).splitlines() == str(answer).splitlines()[:3]


def test_its_pictures_say_what_its_table_says():
    answer = what_if(wide(8), [Nodes(1), Nodes(1, slots=4), Nodes(4), Nodes(4, mtbf=1e9)], service_time=60)
    assert str(answer.queue_depth()).splitlines() == [
        "d, 1 run: tasks that wait for a slot",
        "cluster    at most  after  on average  over after",
        "1 × 1            7    0 s         3.5       8 min",
        "1 × 4            4    0 s         2.0       2 min",
        "4 × 1            4    0 s         2.0       2 min",
        "4 × 1 (2)        4    0 s         2.0       2 min",
    ]
    assert str(answer[:3].scaling()).splitlines() == [
        "d, 1 run",
        "series                nodes  slots  speed-up  node failures  attempts lost",
        "one node, more slots      1      1       1.0              0              0",
        "                          1      4       4.0              0              0",
        "more nodes of 1 slot      1      1       1.0              0              0",
        "                          4      1       4.0              0              0",
    ]
