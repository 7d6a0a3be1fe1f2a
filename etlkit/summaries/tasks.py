"""Summary tables as tasks: one for each, with the arrows that follow from their queries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from etlkit.connections import Connection
from etlkit.dag import BaseOperator, current_dag
from etlkit.summaries.building import build_summary
from etlkit.summaries.config import Config, Summary, read_config
from etlkit.summaries.order import graph


class SummaryOperator(BaseOperator):
    """Builds one summary of a configuration, from tables that are there; its result is {"rows": ..., "before": ...}.

    `conn_id` names the Connection of the warehouse; without it, it is the warehouse of the run. What fails leaves
    yesterday's table and fails the task.
    """

    ui_color: ClassVar[str] = "#ededed"

    def __init__(self, *, summary: str, config: Config, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.summary, self.config, self.conn_id = summary, config, conn_id

    def execute(self, context: Mapping[str, Any]) -> dict[str, int | None]:
        with self._warehouse(context) as con:
            report = build_summary(con, self.config, self.summary)
        self.log.info("%s\n%s", report, report.sql)
        return {"rows": report.rows, "before": report.before}

    @contextlib.contextmanager
    def _warehouse(self, context: Mapping[str, Any]) -> Iterator[Any]:
        if self.conn_id is None:
            yield context["warehouse"]
            return
        with contextlib.closing(Connection.get(self.conn_id).get_hook().get_conn()) as con:
            yield con


def summary_tasks(config: Config, *, conn_id: str | None = None, **arguments: Any) -> dict[str, SummaryOperator]:
    """Make a task for each summary in the DAG around it, each after the tasks of those that it reads; by their names.

    The path of a YAML file is taken from the DAG file's folder. `arguments` are those of every operator, such as
    `retries`. SummaryError if the configuration makes no sense; whether the tables exist is seen when a task runs.

    >>> from etlkit.dag import DAG
    >>> with DAG("elt") as dag:
    ...     tasks = summary_tasks([Summary("coldest", "FROM daily"), Summary("daily", "FROM weather")])
    >>> dag.topological_order()
    ['daily', 'coldest']
    """
    dag = current_dag()
    if dag is not None and isinstance(config, str | Path):
        config = Path(dag.folder) / config
    summaries = read_config(config)
    tasks = [
        SummaryOperator(
            task_id=task_id(summary),
            summary=summary.name,
            config=summaries,
            conn_id=conn_id,
            **{"doc_md": summary.doc, **arguments},
        )
        for summary in summaries
    ]
    for tail, head in graph(summaries).edges:
        tasks[tail] >> tasks[head]
    return {summary.name: task for summary, task in zip(summaries, tasks, strict=True)}


def task_id(summary: Summary) -> str:
    """A summary's name with the characters that a task_id may have.

    >>> task_id(Summary("mart.per day", "SELECT 1"))
    'mart.per_day'
    """
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in summary.name)
