"""Data checks: alone, on the new rows before a merge, and on the new table before it takes the old one's place."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from etlkit.errors import CheckFailed, MergeError, WarehouseError
from etlkit.warehouse import check, checks, merge

JAN1 = date(2013, 1, 1)
HOLDS = [
    checks.row_count(),
    checks.row_count(2),
    checks.row_count(1, 2),
    checks.unique("airport"),
    checks.unique("date", "airport"),
    checks.not_null("airport", "tmin"),
    checks.every("tmin > 29"),
    checks.every("updated_at > TIMESTAMP '2013-01-01'"),  # not known where it is NULL
    checks.no_rows("SELECT airport FROM {table} GROUP BY airport HAVING count(*) > 1"),
    checks.is_true("SELECT avg(tmin) BETWEEN 30 AND 31 FROM {table}"),
]
FAILS = [
    (checks.row_count(3), "check row_count(3) does not hold in \"daily\": rows=2"),
    (checks.row_count(0, 1), "check row_count(0, 1) does not hold in \"daily\": rows=2"),
    (checks.unique("date"), "unique(date) does not hold in \"daily\": duplicated=1, rows=2, date=datetime.date(2013"),
    (checks.not_null("updated_at", "date"), "rows=1, airport='LGA'"),
    (checks.every("tmin > 30"), "check every(tmin > 30) does not hold in \"daily\": rows=1, airport='JFK'"),
    (checks.no_rows("SELECT tmin FROM {table} WHERE tmin < 31"), "tmin=30.0"),
    (checks.is_true("SELECT avg(tmin) < 1 FROM {table}"), "holds=False"),
    (checks.is_true("SELECT avg(tmin) < 1 FROM {table} WHERE tmin > 99"), "holds=None"),
    (checks.is_true("SELECT tmin < 1 FROM {table} WHERE tmin > 99"), "holds=None"),
]  # fmt: skip


@pytest.mark.parametrize("each", HOLDS, ids=lambda each: each.name)
def test_checks_that_hold(con, each):
    check(con, "daily", each)


@pytest.mark.parametrize(("each", "message"), FAILS, ids=lambda each: getattr(each, "name", ""))
def test_checks_that_do_not_hold(con, each, message):
    with pytest.raises(CheckFailed) as caught:
        check(con, "daily", *HOLDS, each)
    assert message in str(caught.value)
    assert caught.value.check == each.name
    assert caught.value.found


def test_columns_whose_names_are_those_that_a_check_gives(con):
    con.execute('CREATE TABLE "rows" AS SELECT 1 AS rows, CAST(NULL AS INTEGER) AS duplicated, 1 AS holds')
    check(con, "rows", checks.row_count(1, 1), checks.unique("rows", "duplicated"), checks.not_null("rows", "holds"))
    con.execute('INSERT INTO "rows" SELECT * FROM "rows"')
    with pytest.raises(CheckFailed):
        check(con, "rows", checks.unique("rows"))
    with pytest.raises(CheckFailed):
        check(con, "rows", checks.not_null("duplicated"))


def test_an_input_check_sees_the_new_rows_alone(con, way):
    def load(*input_checks):
        rows = [("EWR", JAN1, 400.0, None)]
        merge(con, "daily", rows, key=["airport", "date"], order_by="updated_at", input_checks=input_checks, **way)

    with pytest.raises(CheckFailed, match=r"every\(tmin < 130\) does not hold in the new rows: rows=1, airport='EWR'"):
        load(checks.row_count(1, 1), checks.every("tmin < 130"))
    with pytest.raises(CheckFailed, match=r"row_count\(2\) does not hold in the new rows"):
        load(checks.row_count(2))


def test_an_output_check_sees_the_new_table_and_keeps_the_old_one(con, way):
    old = con.execute("SELECT * FROM daily ORDER BY airport").fetchall()
    tables = []

    def look(statement):
        if statement.step == "check result":
            tables.append(con.execute("SELECT * FROM daily ORDER BY airport").fetchall())

    def load(*output_checks):
        merge(
            con,
            "daily",
            [("EWR", JAN1, 26.0, None), ("LGA", JAN1, 27.0, datetime.fromisoformat("2013-01-05"))],
            key=["airport", "date"],
            order_by="updated_at",
            output_checks=output_checks,
            on_statement=look,
            **way,
        )

    new_table = checks.is_true("SELECT min(tmin) = 26 AND max(tmin) = 30 AND sum(tmin) = 83 FROM {table}")
    with pytest.raises(CheckFailed, match=r'row_count\(4\) does not hold in "daily": rows=3'):
        load(new_table, checks.row_count(4))
    assert con.execute("SELECT * FROM daily ORDER BY airport").fetchall() == old
    if way != {"strategy": "incremental", "swap": "delete-insert"}:  # which checks its work before the COMMIT
        assert all(seen == old for seen in tables)
    load(new_table, checks.row_count(3, 3), checks.unique("airport", "date"))
    assert con.execute("SELECT count(*) FROM daily").fetchone() == (3,)


def test_a_check_that_is_not_sql_fails_the_merge(con, way):
    options = {"key": ["airport", "date"], "order_by": "updated_at", "output_checks": [checks.every("tmax > 1")]}
    with pytest.raises(MergeError, match=r"failed at 'check result'.*\"tmax\" (not found|does not exist)") as caught:
        merge(con, "daily", [], **options, **way)
    assert caught.value.step == "check result"


def test_in_a_transaction_of_the_caller(con):
    con.execute("BEGIN")
    con.execute("DELETE FROM daily WHERE airport = 'LGA'")
    check(con, "daily", checks.row_count(1, 1))
    con.execute("ROLLBACK")
    check(con, "daily", checks.row_count(2, 2))


def test_a_table_that_is_not_there(con):
    with pytest.raises(WarehouseError, match="no table is called 'dialy'"):
        check(con, "dialy", checks.row_count(1))
