"""What is in the warehouse, as far as summaries must know it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from etlkit.errors import SummaryError
from etlkit.summaries.order import Name, functions_called, resolved, split, tables_read, view_query
from etlkit.warehouse import postgres_catalog
from etlkit.warehouse.backend import Backend
from etlkit.warehouse.rows import FILE
from etlkit.warehouse.sql import Table

SYSTEM_SCHEMAS = frozenset({"information_schema", "pg_catalog"})


class Catalog:
    """The tables and views that a warehouse has when it is first asked; names are compared without regard to case.

    The queries are DuckDB's; another database has other ones.
    """

    TABLES: ClassVar[str] = "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables"
    VIEWS: ClassVar[str] = "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal"
    MACROS: ClassVar[str] = """SELECT function_name, function_type, macro_definition FROM duckdb_functions()
        WHERE NOT internal AND macro_definition IS NOT NULL"""

    def __init__(self, database: Backend) -> None:
        self.database = database
        self.name, self.schema = self._all("SELECT current_database(), current_schema()")[0]

    def resolved(self, name: Name) -> Name:
        """A name with its schema, in lower case."""
        return resolved(name, self.schema)

    @cached_property
    def kinds(self) -> Mapping[Name, str]:
        """Each table and view that is there, by (database, schema, name): "BASE TABLE", "VIEW" or "LOCAL TEMPORARY"."""
        return {tuple(part.lower() for part in name): kind for *name, kind in self._all(self.TABLES)}

    def kind(self, summary: str) -> str | None:
        """What is there under the name of a summary."""
        return self.kinds.get(self._own(split(summary)))

    def has(self, name: Name) -> bool:
        """Whether a query finds something by a name: a table or view, a file, or what every database has."""
        if (len(name) == 1 and FILE.search(name[0])) or name[0].lower() in SYSTEM_SCHEMAS:
            return True
        full = self.resolved(name)
        in_database = [full] if len(full) == 3 else [(full[0], "main", full[1])]  # if the name begins with a database
        return not self.kinds.keys().isdisjoint([self._own(name), ("temp", *full), *in_database])

    def without_database(self, name: Name) -> Name:
        """A name without the database, if that is this one."""
        return name[1:] if len(name) == 3 and name[0].lower() == self.name.lower() else name

    def behind(self, query: str) -> set[Name]:
        """The tables that a query reads in the end, through views and macros, as far as these can be read."""
        found: set[Name] = set()
        unread = [(self.schema, query)]
        while unread:
            schema, sql = unread.pop()
            try:
                names = {*tables_read(sql), *functions_called(sql)}
            except SummaryError:
                if sql == query:
                    raise
                continue  # a view that only DuckDB can read; its author is not the one to be told
            for name in names:
                near = resolved(name, schema)
                full = near if (self.name.lower(), *near) in self.kinds else self.resolved(name)
                if full not in found:
                    found.add(full)
                    unread += self._definitions.get(full, ())
        return found

    @cached_property
    def _definitions(self) -> dict[Name, list[tuple[str, str]]]:
        """The queries of views and macros, each with the schema in which it looks for tables."""
        found: dict[Name, list[tuple[str, str]]] = {}
        for schema, name, sql in self._all(self.VIEWS):
            found.setdefault(resolved((schema, name)), []).append((schema, view_query(sql)))
        for name, kind, definition in self._all(self.MACROS):
            query = definition if kind == "table_macro" else f"SELECT {definition}"
            found.setdefault(self.resolved((f"{name}()",)), []).append((self.schema, query))
        return found

    def losses(self, summary: str) -> list[str]:
        """What a table has that would not survive being dropped and built anew."""
        where = "WHERE lower(database_name) = ? AND lower(schema_name) = ? AND lower(table_name) = ?"
        name = self._own(split(summary))
        constraints = self._all(f"SELECT constraint_type || ' constraint' FROM duckdb_constraints() {where}", *name)
        return [
            what for (what,) in [*constraints, *self._all(f"SELECT 'trigger' FROM duckdb_triggers() {where}", *name)]
        ]

    def dependents(self, summary: str) -> list[str]:
        """What stands in the way of dropping a table."""
        return []

    def table(self, summary: str) -> Table:
        """The table of a summary, whether it is there or not."""
        if self.kind(summary):
            return self.database.find(split(summary))
        return Table(self.name, self.resolved(split(summary))[0], split(summary), columns=(), definition="")

    def _own(self, name: Name) -> Name:
        return (self.name.lower(), *self.resolved(name))

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.database.ask(sql, values)


class PostgresCatalog(Catalog):
    """The same of PostgreSQL, where a view holds on to the very table that it was made of."""

    TABLES = """SELECT CASE WHEN relpersistence = 't' THEN 'temp' ELSE current_database() END,
        CASE WHEN relpersistence = 't' THEN current_schema() ELSE nspname END,
        relname, CASE WHEN relkind IN ('v', 'm') THEN 'VIEW' ELSE 'BASE TABLE' END
        FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'f', 'v', 'm')"""
    VIEWS = """SELECT nspname, relname, 'CREATE VIEW v AS ' || pg_get_viewdef(c.oid)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE relkind IN ('v', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')"""
    MACROS = """SELECT proname, 'table_macro', prosrc FROM pg_proc JOIN pg_language AS l ON l.oid = prolang
        WHERE lanname = 'sql' AND prosrc <> '' AND pronamespace <> 'pg_catalog'::regnamespace"""
    CONSTRAINTS = """SELECT CASE contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'f' THEN 'FOREIGN KEY' WHEN 'c' THEN 'CHECK'
        WHEN 'u' THEN 'UNIQUE' ELSE 'EXCLUDE' END || ' constraint'
        FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'f', 'c', 'u', 'x')"""

    def losses(self, summary: str) -> list[str]:
        return self._of(self.CONSTRAINTS, summary)

    def dependents(self, summary: str) -> list[str]:
        return self._of(postgres_catalog.LOST, summary)

    def _of(self, query: str, summary: str) -> list[str]:
        if not self.kind(summary):
            return []
        return [what for (what,) in self._all(query, self.table(summary).definition)]


CATALOGS = {"DuckDB": Catalog, "PostgreSQL": PostgresCatalog}
