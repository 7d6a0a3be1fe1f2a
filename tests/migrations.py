"""What the migrations still lack to lead to the tables of `etlkit.models`.

`python -m tests.migrations` prints it as the body of an `upgrade()`: for a new file in etlkit/migrations/versions/,
whose `revision` is the next number (then also `models.SCHEMA_VERSION`) and whose `down_revision` is the last one. A
version that was not released yet may be changed instead.
"""

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from etlkit import models
from etlkit.migrations import FOLDER

NAMES = {"TEXT": models.TEXT, "INSTANT": models.INSTANT}
"""The types that each revision defines for itself, so that it stays what it was."""


def take_all(connection, folder=FOLDER):
    """Take all steps, from an empty database on; the versions in order."""
    revisions = list(reversed(list(ScriptDirectory(str(folder)).walk_revisions())))
    with Operations.context(MigrationContext.configure(connection)):
        for revision in revisions:
            revision.module.upgrade()
    return [revision.revision for revision in revisions]


def difference(connection):
    """Python code that would change the tables of a database into those of the models."""
    options = {
        "target_metadata": models.metadata,
        "compare_type": True,
        "compare_server_default": True,
        "render_item": _render,
        "include_object": lambda item, *_: _belongs(item, connection.dialect.name),
    }
    context = MigrationContext.configure(connection, opts=options)
    return render_python_code(produce_migrations(context, models.metadata).upgrade_ops, render_item=_render)


def _belongs(item, dialect):
    """Whether this kind of database has it: `ddl_if` says so of an index, which Alembic does not ask."""
    condition = getattr(item, "_ddl_if", None)
    return condition is None or condition.dialect == dialect


def _render(kind, item, _context):
    """Types by the names above, and constraints without the names that the convention gives them."""
    return next((name for name, known in NAMES.items() if kind == "type" and item is known), False)


if __name__ == "__main__":
    with sa.create_engine("sqlite://").connect() as empty:
        take_all(empty)
        print(difference(empty))
