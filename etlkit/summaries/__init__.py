"""Summary tables: SQL turns raw tables into the tables that people look at, each checked before it is shown (ELT).

A summary is a name and a query; which summaries it reads is found in the query, so they are built in the right order:

>>> from etlkit.warehouse import checks, connect
>>> con = connect()
>>> _ = con.execute("CREATE TABLE weather AS SELECT 'JFK' AS airport, DATE '2013-01-01' AS date, 26.1 AS temp")
>>> config = [
...     Summary("coldest", "SELECT airport, min(tmin) AS tmin FROM daily GROUP BY airport"),
...     Summary(
...         "daily",
...         "SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL",
...         key=["airport", "date"],
...         input_checks={"weather": [checks.row_count(1)]},
...         output_checks=[checks.every("tmin > -100")],
...     ),
... ]
>>> print(build_summaries(con, config))
daily    1 row (new)
coldest  1 row (new)

`build_summaries` builds all of them now. `summary_tasks` makes a task of each, with the arrows between them, in a DAG::

    with DAG("elt", schedule="@daily", start_date=...):
        summary_tasks("summaries.yaml")

The warehouse is DuckDB or PostgreSQL. Each table is built beside the old one, checked, and put into its place, in one
transaction. Whatever fails before the end is an error, and leaves yesterday's table.
"""

from etlkit.summaries.building import SummaryReport, build_summaries, build_summary
from etlkit.summaries.config import Summary, read_config
from etlkit.summaries.order import in_order, inputs, tables_read
from etlkit.summaries.tasks import SummaryOperator, summary_tasks

__all__ = [
    "Summary",
    "SummaryOperator",
    "SummaryReport",
    "build_summaries",
    "build_summary",
    "in_order",
    "inputs",
    "read_config",
    "summary_tasks",
    "tables_read",
]
