"""The warehouse: tables that keep one row per key, whatever arrives late, twice or out of order.

>>> con = connect()
>>> _ = con.execute("CREATE TABLE daily (airport VARCHAR PRIMARY KEY, tmin DOUBLE, updated_at DATE)")
>>> merge(con, "daily", [("JFK", 26.1, "2013-01-02")], key="airport", order_by="updated_at").inserted
1

`merge` loads, `plan` shows the SQL that it would run, `checks` holds the data checks, and `connect` opens a file of
DuckDB. In PostgreSQL it is the same call with another connection, `merge(psycopg.connect(...), "daily", ...)`, or with
a hook, `merge(PostgresHook("warehouse"), "daily", ...)`. The recipe itself, to read from top to bottom, is in
`etlkit.warehouse.recipe`; what differs between the databases is in `backend`.
"""

from etlkit.warehouse import checks
from etlkit.warehouse.checks import Check, check
from etlkit.warehouse.files import connect
from etlkit.warehouse.merging import MergeReport, merge, plan
from etlkit.warehouse.sql import Script, Statement

__all__ = ["Check", "MergeReport", "Script", "Statement", "check", "checks", "connect", "merge", "plan"]
