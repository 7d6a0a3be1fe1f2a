"""The pictures of the kit's own tables: calendar, trigger rules, state machine, merge counts."""

from datetime import date

import pytest

from etlkit import viz
from etlkit.errors import DagError, EtlkitError
from etlkit.lab import Lab
from etlkit.rules import TRIGGER_RULES, UpstreamCounts, evaluate
from etlkit.viz.merge_bars import parts
from etlkit.viz.rule_table import CASES
from etlkit.viz.state_chart import CHARTS, others
from tests.engine import Do, make_dag
from tests.viz.drawn import texts
from tests.viz.samples import NEW_YORK, a_report


def test_the_calendar_shows_the_worst_of_a_days_runs_on_the_dags_clock():
    hourly = make_dag("d", tasks=[Do("a", KeyError("no"), 1)], schedule="@hourly", catchup=True)
    hourly.start_date = hourly.start_date.astimezone(NEW_YORK)
    with Lab(start="2013-01-01") as lab:
        lines = str(lab.add(hourly).run_until("2013-01-01 08:00").calendar()).splitlines()
    assert lines[0] == "d: 8 runs on 2 days"
    assert lines[1] == "December 2012"
    assert lines[-1] == "✗ failed on 2 days"


def test_more_than_two_years_are_refused():
    with pytest.raises(EtlkitError, match="25 months are too many for one picture, which shows 24"):
        viz.calendar([(date(2013, 1, 1), "success"), (date(2015, 1, 1), "success")])


def test_the_rule_table_asks_the_rules():
    head, *rows = str(viz.trigger_rules(title="")).splitlines()
    assert head.split()[2:] == ["+".join(case) for case in CASES]
    assert [row.split()[0] for row in rows] == [*TRIGGER_RULES]
    for row in rows:
        rule, *answers = row.split()
        assert answers == [evaluate(rule, UpstreamCounts.of(case)).value for case in CASES]


def test_the_cases_tell_all_rules_apart_that_differ_without_setups():
    rows = {tuple(line.split()[1:]) for line in str(viz.trigger_rules(title="")).splitlines()[1:]}
    assert len(rows) == len(TRIGGER_RULES) - 1, "all_done_setup_success is all_done where there is no setup"


@pytest.mark.parametrize(
    ("rules", "cases", "message"),
    [
        (["all_sucess"], None, "there is no trigger rule 'all_sucess'; did you mean 'all_success'"),
        (None, [["fialed"]], "there is no state 'fialed'; did you mean 'failed'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(rules, cases, message):
    with pytest.raises(DagError, match=message):
        viz.trigger_rules(rules, cases)


@pytest.mark.parametrize("of", CHARTS)
def test_the_state_machine_draws_each_step_of_the_table_once(of):
    chart = CHARTS[of]
    assert chart.places.keys() == chart.transitions.keys()
    for state, allowed in chart.transitions.items():
        arrows = [arrow.head for arrow in chart.arrows if arrow.tail == state]
        assert sorted(map(str, [*arrows, *others(chart, state)])) == sorted(map(str, allowed))


def test_there_is_no_state_machine_of_anything_else():
    with pytest.raises(EtlkitError, match="there is a state machine of 'task' and of 'run', not of 'dag'"):
        viz.state_machine("dag")


def test_the_bars_of_a_merge_add_up():
    report = a_report(before=1000, new=73, duplicates=1, replaced=20, inserted=40, removed=5)
    bars = {name: sum(bar.values()) for name, bar in parts(report).items()}
    assert bars == {"before": 1000, "new": 73, "after": 1035}
    assert "replaced 20, inserted 40, unchanged 12, duplicates 1" in texts(viz.merge_counts(report))


def test_merges_are_drawn_to_one_scale_and_one_row_is_seen_beside_a_million():
    picture = viz.merge_counts(a_report(before=1_000_000), a_report(before=1))
    widths = [patch.get_width() for patch in picture.axes[0].patches]
    assert max(widths) == pytest.approx(7.45, abs=0.01)
    assert min(widths) >= 0.09
