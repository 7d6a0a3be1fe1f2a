"""What tests of DAG files share."""

import os
from textwrap import dedent

from etlkit.store import Store


def write(path, text):
    """Write a file, and the folder it lies in; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def change(path, text):
    """Write a file so that it looks changed, also to a clock that is coarse."""
    write(path, text)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def one_dag(dag_id):
    """A file with an empty DAG."""
    return f"from etlkit import DAG\nwith DAG({dag_id!r}):\n    pass\n"


class Site:
    """A home with a folder of DAG files, and a database."""

    def __init__(self, home, database, text):
        self.home, self.store = home, Store(database)
        self.write(text)

    def write(self, text, name="all.py"):
        """Write a DAG file; its path."""
        return write(self.home / "dags" / name, text)
