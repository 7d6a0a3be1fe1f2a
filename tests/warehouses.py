"""The databases that the tests of the warehouse run on: DuckDB, and PostgreSQL on a real server."""

from __future__ import annotations

from urllib.parse import quote

import duckdb
import pytest

from tests.servers import postgres


class DuckDBEngine:
    """DuckDB in memory, or in a file."""

    name = "duckdb"
    Error = duckdb.Error
    ConstraintError = duckdb.ConstraintException
    examples = 15  # of a property test

    def fresh(self):
        """A connection to an empty database."""
        return duckdb.connect()

    def another(self, con):
        """A second connection to the same database."""
        return con.cursor()

    def open(self, address):
        """A connection to what another process can open too."""
        return duckdb.connect(address)

    def addresses(self, folder, count):
        """As many empty databases that other processes can open."""
        return [str(folder / f"{number}.duckdb") for number in range(count)]

    def tables(self, con):
        """All tables and views, temporary ones too."""
        return con.execute("SELECT table_name FROM information_schema.tables").fetchall()

    def said(self, con, table):
        """Everything that is said of a table: definition and comment, indexes, columns, constraints."""
        of = "WHERE table_name = ?"
        queries = [
            f"SELECT sql, comment FROM duckdb_tables() {of}",
            f"SELECT sql FROM duckdb_indexes() {of} ORDER BY index_name",
            f"SELECT column_name, comment FROM duckdb_columns() {of}",
            f"SELECT constraint_name, constraint_text FROM duckdb_constraints() {of} ORDER BY 1",
        ]
        return [con.execute(query, [table]).fetchall() for query in queries]


class PostgresEngine:
    """A database of a PostgreSQL server, emptied for every connection that is asked for."""

    name = "postgres"
    examples = 4
    database = None

    @property
    def Error(self):
        import psycopg

        return psycopg.Error

    @property
    def ConstraintError(self):
        import psycopg

        return psycopg.IntegrityError

    def fresh(self):
        self.database = self.database or postgres().create_database("warehouse")
        con = postgres().connect(self.database, autocommit=True)
        own = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'"
        con.execute("SET client_min_messages = warning")
        for (schema,) in con.execute(own).fetchall():
            con.execute(f'DROP SCHEMA "{schema.replace(chr(34), chr(34) * 2)}" CASCADE')
        con.execute("CREATE SCHEMA public")
        return con

    def another(self, con):
        return postgres().connect(self.database, autocommit=True)

    def open(self, address):
        import psycopg

        return psycopg.connect(address, autocommit=True)

    def addresses(self, folder, count):
        """Schemas of one database, each of which is all that its address shows."""
        with self.fresh() as con:
            for number in range(count):
                con.execute(f"CREATE SCHEMA s{number}")
        return [
            f"{postgres().url(self.database)}&options={quote(f'-c search_path=s{number}')}" for number in range(count)
        ]

    def tables(self, con):
        return con.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v', 'f', 'm', 'p')"
            " AND (pg_table_is_visible(oid) OR relnamespace = pg_my_temp_schema())"
            " AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
        ).fetchall()

    def said(self, con, table):
        queries = [
            "SELECT relpersistence, reloptions, relacl::text, relowner, obj_description(oid) FROM pg_class"
            " WHERE oid = %s::regclass",
            "SELECT pg_get_indexdef(indexrelid), obj_description(indexrelid) FROM pg_index"
            " WHERE indrelid = %s::regclass ORDER BY 1",
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, attacl::text,"
            " pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)"
            " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
            " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            "SELECT conname, pg_get_constraintdef(oid), obj_description(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass ORDER BY 1",
        ]
        name = '"' + table.replace('"', '""') + '"'
        return [con.execute(query, [name]).fetchall() for query in queries]


ENGINES = {engine.name: engine for engine in (DuckDBEngine(), PostgresEngine())}

only_duckdb = pytest.mark.parametrize("engine", [ENGINES["duckdb"]], ids=["duckdb"])
only_postgres = pytest.mark.parametrize("engine", [ENGINES["postgres"]], ids=["postgres"])
