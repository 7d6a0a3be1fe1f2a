"""Which tables a query reads, and so in which order summaries are built: no more than parsing, no database is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import networkx as nx

from etlkit.errors import SummaryError
from etlkit.summaries.config import Summary

if TYPE_CHECKING:
    from sqlglot import exp

DIALECT = "duckdb"

DEFAULT_SCHEMA = "main"
"""Where a table is that is named without its schema."""

Name = tuple[str, ...]
"""A table's name: ("daily",), ("schema", "daily") or ("database", "schema", "daily")."""


def tables_read(sql: str) -> list[Name]:
    """The tables that a query reads, as it names them, sorted; SummaryError if it is no query.

    Names that the query itself defines (WITH) are no tables.

    >>> tables_read("WITH cold AS (SELECT * FROM daily WHERE tmin < 26) FROM cold JOIN raw.airports USING (id)")
    [('daily',), ('raw', 'airports')]
    """
    from sqlglot import exp

    # A function that stands for a table, such as read_csv(...), has no name.
    named = (table for table in parsed(sql).find_all(exp.Table) if table.name and not _is_defined(table))
    return sorted({tuple(part.name for part in table.parts) for table in named})


def parsed(sql: str) -> exp.Expr:
    """The one query that a text holds."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = [
            tree for tree in sqlglot.parse(sql, dialect=DIALECT) if tree and not isinstance(tree, exp.Semicolon)
        ]
    except sqlglot.ParseError as error:
        found = error.errors[0]
        where = f"line {found['line']}, near {found['highlight']!r}"
        raise SummaryError(f"the SQL cannot be read: {where}: {found['description']}", sql=sql) from None
    except sqlglot.errors.SqlglotError as error:
        raise SummaryError(f"the SQL cannot be read: {error}", sql=sql) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query | exp.Values | exp.Pivot):
        raise SummaryError("the SQL must be one query, such as SELECT ... FROM ...", sql=sql)
    return statements[0]


def functions_called(sql: str) -> list[Name]:
    """The functions that a query calls and that SQL itself does not have: they may be macros.

    >>> functions_called("SELECT max(fahrenheit(tmin)) FROM coldest_of(2013)")
    [('coldest_of()',), ('fahrenheit()',)]
    """
    from sqlglot import exp

    return sorted({(f"{function.name}()",) for function in parsed(sql).find_all(exp.Anonymous)})


def view_query(sql: str) -> str:
    """The query in a CREATE VIEW; nothing if it cannot be read."""
    import sqlglot

    try:
        return sqlglot.parse_one(sql, dialect=DIALECT).expression.sql(dialect=DIALECT)
    except sqlglot.errors.SqlglotError:
        return ""


def _is_defined(table: exp.Table) -> bool:
    """Whether a name in a query is defined by a WITH around it, rather than a table's."""
    from sqlglot import exp

    child: exp.Expr = table
    node = table.parent
    while node is not None and not table.db:
        if isinstance(node, exp.With):  # inside a definition those before it can be seen, and itself if it is recursive
            visible = node.expressions[: (child.index or 0) + bool(node.recursive)]
        else:
            own = node.args.get("with_")
            visible = own.expressions if own is not None and own is not child else []
        if table.name.lower() in (definition.alias.lower() for definition in visible):
            return True
        child, node = node, node.parent
    return False


def without_end(sql: str) -> str:
    """A query without what may follow it: semicolons and comments.

    >>> without_end("SELECT 'a;' FROM daily; -- of each day")
    "SELECT 'a;' FROM daily"
    """
    import sqlglot

    tokens = sqlglot.tokenize(sql, dialect=DIALECT)
    return sql[: max(token.end for token in tokens if token.token_type != sqlglot.TokenType.SEMICOLON) + 1]


def split(name: str) -> Name:
    """A name in a configuration as its parts: at the first dot."""
    return tuple(name.split(".", 1))


def resolved(name: Name, schema: str = DEFAULT_SCHEMA) -> Name:
    """A name by which two mentions of a table can be compared: with its schema, in lower case as SQL does not care.

    >>> resolved(("Daily",)), resolved(("raw", "daily"))
    (('main', 'daily'), ('raw', 'daily'))
    """
    parts = tuple(part.lower() for part in name)
    return parts if len(parts) > 1 else (schema.lower(), *parts)


def inputs(summary: Summary) -> list[Name]:
    """The tables that a summary reads: those in its query, and those that it says it `reads`."""
    try:
        names = tables_read(summary.sql)
    except SummaryError as error:
        raise summary.refused(str(error)) from None
    names += map(split, summary.reads)
    known = {resolved(name) for name in names}
    for checked in summary.input_checks:
        if resolved(split(checked)) not in known:
            read = ", ".join(".".join(name) for name in names) or "no table"
            raise summary.refused(f"input_checks name {checked!r}, but the query reads {read}")
    return names


def graph(summaries: Sequence[Summary], schema: str = DEFAULT_SCHEMA) -> nx.DiGraph:
    """Summaries by their numbers in the configuration, and an edge to each from every other one that it reads.

    SummaryError if some of them read each other in a circle.
    """
    numbers = {resolved(split(summary.name), schema): number for number, summary in enumerate(summaries)}
    found: nx.DiGraph = nx.DiGraph()
    found.add_nodes_from(range(len(summaries)))
    for number, summary in enumerate(summaries):
        read = (numbers.get(resolved(name, schema)) for name in inputs(summary))
        found.add_edges_from((other, number) for other in read if other is not None)
    if not nx.is_directed_acyclic_graph(found):
        circle = [f"{summaries[head].name} reads {summaries[tail].name}" for tail, head in nx.find_cycle(found)]
        raise SummaryError(f"summaries read each other in a circle: {', '.join(reversed(circle))}")
    return found


def in_order(summaries: Sequence[Summary], schema: str = DEFAULT_SCHEMA) -> list[Summary]:
    """The summaries so that each comes after those that it reads, and else as in the configuration.

    >>> in_order([Summary("a", "FROM b"), Summary("b", "FROM weather")])[0].name
    'b'
    """
    return [summaries[number] for number in nx.lexicographical_topological_sort(graph(summaries, schema))]
