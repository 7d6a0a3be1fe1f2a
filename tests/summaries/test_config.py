"""Summaries as YAML and as Python, and what is refused in one line."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from etlkit.errors import SummaryError
from etlkit.summaries import Summary, read_config
from etlkit.warehouse import checks

YAML = """
- name: daily
  doc: The lowest temperature of each day.
  sql: |
    SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL
  key: [airport, date]
  input_checks:
    weather:
      - row_count: 1
      - not_null: [airport, time]
  output_checks:
    - row_count: [1, 1000]
    - row_count: {minimum: 2}
    - unique: airport
    - every: tmin > -100
    - no_rows: SELECT * FROM {table} WHERE tmin IS NULL
    - is_true: SELECT count(*) > 1 FROM {table}
- name: 도시.coldest
  sql: SELECT min(tmin) FROM daily
  reads: weather
  doc:
"""


def names(some):
    return [check.name for check in some]


def test_yaml(tmp_path):
    file = tmp_path / "summaries.yaml"
    file.write_text(YAML, encoding="utf-8")
    daily, coldest = read_config(file)
    assert (daily.name, daily.doc, daily.key) == ("daily", "The lowest temperature of each day.", ("airport", "date"))
    assert daily.sql == "SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL\n"
    assert {table: names(some) for table, some in daily.input_checks.items()} == {
        "weather": ["row_count(1)", "not_null(airport, time)"]
    }
    assert names(daily.output_checks) == [
        "row_count(1, 1000)",
        "row_count(2)",
        "unique(airport)",
        "every(tmin > -100)",
        "no_rows(SELECT * FROM {table} WHERE tmin IS NULL)",
        "is_true(SELECT count(*) > 1 FROM {table})",
    ]
    assert (coldest.name, coldest.doc, coldest.reads, coldest.key) == ("도시.coldest", None, ("weather",), ())
    assert read_config(str(file))[0].sql == daily.sql


def test_python():
    summary = Summary("daily", "FROM weather", key="day", output_checks=[checks.row_count(1)])
    assert (
        read_config([summary, {"name": "b", "sql": "FROM daily", "output_checks": [checks.unique("a")]}])[0] is summary
    )
    assert (summary.key, summary.reads) == (("day",), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: [", r"summaries.yaml, line 1: expected the node content"),
        ("- name: a\n  sql: b: c\n", r"summaries.yaml, line 2: mapping values are not allowed here"),
        ("- !!python/object:os.system {}", r"summaries.yaml, line 1: could not determine a constructor"),
        ("\x07", "summaries.yaml: unacceptable character"),
        ("", "is not a list of summaries; begin each with: - name: ..."),
        ("daily: {}", "is not a list of summaries"),
        ("- daily", "'daily' is not a summary; give a mapping with name, sql, key"),
        ("- sql: SELECT 1", "summary None: it has no name"),
        ("- name: a", "summary 'a': it has no sql"),
        ("- {name: no, sql: SELECT 1}", "a summary needs a name that is a text, not False"),
        ("- {name: ' ', sql: SELECT 1}", "a summary needs a name that is a text, not ' '"),
        ("- {name: a, sql: 1}", "a summary needs a sql that is a text, not 1"),
        ("- {name: a, sqll: SELECT 1}", "summary 'a': there is no field 'sqll'; did you mean 'sql'?"),
        ("- {name: a, sql: S, 1: 2}", "summary 'a': there is no field 1"),
        ("- {name: a, sql: S, input_checks: []}\n- {name: A, sql: S}", "summary 'A': there are two of this name"),
        ("- {name: a, sql: S, key: 1}", "summary 'a': key is a column or a list of them, not 1"),
        ("- {name: a, sql: S, key: [1]}", "summary 'a': key is a column or a list of them, not [1]"),
        ("- {name: a, sql: S, doc: 1}", "summary 'a': doc is a text, not 1"),
        ("- {name: a, sql: S, input_checks: [b]}", "summary 'a': input_checks are a mapping of table names to lists"),
        ("- {name: a, sql: S, input_checks: {b: 1}}", "summary 'a': checks are a list, not 1"),
        ("- {name: a, sql: S, input_checks: {1: []}}", "summary 'a': input_checks are by the name of a table, not 1"),
        ("- {name: a, sql: S, output_checks: unique}", "summary 'a': checks are a list, not 'unique'"),
        ("- {name: a, sql: S, output_checks: [unique]}", "'unique' is not a check; write one name and its arguments"),
        ("- {name: a, sql: S, output_checks: [{a: 1, b: 1}]}", "is not a check; write one name and its arguments"),
        ("- {name: a, sql: S, output_checks: [{uniqe: a}]}", "there is no check 'uniqe'; did you mean 'unique'?"),
        (
            "- {name: a, sql: S, output_checks: [{xyz: a}]}",
            "there is no check 'xyz'; there are row_count, unique, not_null",
        ),
        ("- {name: a, sql: S, output_checks: [{row_count: [1, 2, 3]}]}", "row_count does not take [1, 2, 3]: "),
        (
            "- {name: a, sql: S, output_checks: [{row_count: many}]}",
            "row_count does not take 'many'; give it whole numbers",
        ),
        ("- {name: a, sql: S, output_checks: [{row_count: {min: 1}}]}", "row_count does not take {'min': 1}: "),
        ("- {name: a, sql: S, output_checks: [{unique: 1}]}", "unique does not take 1; give it texts"),
        ("- {name: a, sql: S, output_checks: [{every: [a, b]}]}", "every does not take ['a', 'b']: "),
        ("- {name: a, sql: S, output_checks: [{no_rows: 1}]}", "no_rows does not take 1; give it texts"),
        ("- {name: a, sql: S, output_checks: [{every: yes}]}", "every does not take True; give it texts"),
    ],
)
def test_what_is_refused(text, message, tmp_path):
    file = tmp_path / "summaries.yaml"
    file.write_text(dedent(text), encoding="utf-8")
    with pytest.raises(SummaryError, match=re.escape(message)) as caught:
        read_config(file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(SummaryError, match=r"no\.yaml cannot be read: No such file or directory"):
        read_config(tmp_path / "no.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SummaryError, match=r"binary\.yaml cannot be read: 'utf-8' codec"):
        read_config(tmp_path / "binary.yaml")


def test_what_is_refused_in_python():
    with pytest.raises(SummaryError, match=r"summary 'a': 1 is not a check; see etlkit\.warehouse\.checks"):
        Summary("a", "SELECT 1", output_checks=[1])
    with pytest.raises(SummaryError, match="summary 'a': 'row_count' is not a check"):
        Summary("a", "SELECT 1", input_checks={"b": ["row_count"]})
