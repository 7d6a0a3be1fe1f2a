"""A task that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from etlkit.dag import BaseOperator


class EmptyOperator(BaseOperator):
    """Does nothing: a place where arrows meet, or a stand-in while a DAG is being drawn.

    >>> EmptyOperator(task_id="start").execute({})
    """

    ui_color: ClassVar[str] = "#e8f7e4"

    def execute(self, context: Mapping[str, Any]) -> None:
        """Nothing."""


DummyOperator = EmptyOperator
"""The name that `EmptyOperator` had in Airflow 1."""
