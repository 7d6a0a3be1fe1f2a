"""Where a command gets its DAGs from: one DAG file, or a folder of them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.dag_folder import DagFolder


def load_dags(source: Path | None) -> DagFolder:
    """The DAGs of a file or folder (None: [core] dags_folder); DagFileError if it is a file that does not load.

    What DAG files print goes to stderr, so that it does not spoil the command's own output.
    """
    with redirect_stdout(sys.stderr):
        folder = DagFolder(source or conf.get("core", "dags_folder"))
    if folder.errors and folder.path.is_file():
        raise folder.errors[0]
    return folder


def find_dag(dag_id: str, source: Path | None) -> DAG:
    """One DAG of a file or folder; DagNotFound, with the nearest name, if it is not there."""
    return load_dags(source).get(dag_id)
