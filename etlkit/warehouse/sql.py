"""The words that SQL text is made of: quoted names, literals, and statements that say which step they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from etlkit.errors import EtlkitError

EXAMPLES = 5  # rows that the error of a check carries


def quoted(*parts: str) -> str:
    """A name as an SQL identifier; whatever it holds, it is one name. Several parts are joined by dots.

    >>> print(quoted("my schema", 'say "hi"; DROP TABLE x'))
    "my schema"."say ""hi""; DROP TABLE x"
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A text as an SQL literal, for the places where SQL takes no bound value.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def columns(names: Iterable[str], prefix: str = "", suffix: str = "") -> str:
    """Names as a list of columns.

    >>> print(columns(["airport", "order"], suffix=" DESC"))
    "airport" DESC, "order" DESC
    """
    return ", ".join(f"{prefix}{quoted(name)}{suffix}" for name in names)


class Column(NamedTuple):
    """A column's name, type (the database's own type object, whose `str` is SQL), and whether it may be NULL."""

    name: str
    type: Any
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """A table as the catalog has it; `path` is how SQL names it: as far as the caller did, in the catalog's spelling.

    >>> daily = Table("memory", "main", ("main", "daily"), columns=(), definition="")
    >>> print(daily.sql, daily.helper("new"))
    "main"."daily" "daily__new"
    """

    catalog: str
    schema: str
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    definition: str

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def full(self) -> tuple[str, str, str]:
        return self.catalog, self.schema, self.name

    @property
    def sql(self) -> str:
        return quoted(*self.path)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def spelt(self, names: str | Sequence[str]) -> tuple[str, ...]:
        """A column or several in the catalog's spelling, as SQL takes no notice of case; an unknown one as it is."""
        spelling = {name.lower(): name for name in self.names}
        given = (names,) if isinstance(names, str) else names
        return tuple(dict.fromkeys(spelling.get(name.lower(), name) for name in given))

    @property
    def next(self) -> str:
        """The table that will take this one's place: it stands beside it."""
        return quoted(*self.path[:-1], f"{self.name}__next")

    def helper(self, role: str) -> str:
        """A temporary table."""
        return quoted(f"{self.name}__{role}")

    def helpers(self) -> list[str]:
        """The names, not quoted, that a merge gives away."""
        return [f"{self.name}__{role}" for role in ("source", "new", "staging", "next")]


class Result(NamedTuple):
    """What a statement gave back: the column names, and its first rows."""

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def example(self) -> dict[str, Any]:
        """The first row, by column name."""
        return dict(zip(self.names, self.rows[0], strict=True))


@dataclass(frozen=True)
class Statement:
    """One SQL statement of a merge, with the step of the recipe that it belongs to.

    `counts` is the name under which the report keeps the one number it returns; `objection` looks at the rows it
    returns and gives the error that ends the merge, or None; `fault` says what an error of the database in this
    statement means, or None; `rows` brings what a statement like COPY takes.

    >>> print(Statement("count", "SELECT count(*) FROM daily"))
    -- count
    SELECT count(*) FROM daily;
    """

    step: str
    sql: str
    counts: str | None = None
    objection: Callable[[Result], EtlkitError | None] | None = None
    fault: Callable[[Exception], Exception | None] | None = None
    rows: Callable[[], Iterable[Sequence[Any]]] | None = None

    def __str__(self) -> str:
        return f"-- {self.step}\n{self.sql};"


class Script(tuple[Statement, ...]):
    """Statements in the order in which they run; `print` it to read it.

    >>> print(Script([Statement("begin", "BEGIN TRANSACTION"), Statement("commit", "COMMIT")]))
    -- begin
    BEGIN TRANSACTION;
    <BLANKLINE>
    -- commit
    COMMIT;
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    __repr__ = __str__
