"""One run of a DAG in a lab, and what it left: states, values, logs."""

from typing import Any

from etlkit import xcom
from etlkit.dag import DAG
from etlkit.lab import Lab


class OneRun:
    """Triggers `dag` once and lets everything happen for a month."""

    def __init__(self, dag: DAG, *, start: str = "2013-01-02", conf: dict | None = None, **trigger: Any) -> None:
        self.lab = Lab(start=start)
        self.lab.add(dag)
        self.run = self.lab.trigger(dag, conf=conf, **trigger)
        self.lab.advance(days=30)
        (self._row,) = self.lab.store.runs(dag.dag_id)

    @property
    def state(self) -> str:
        return self._row.state

    @property
    def tasks(self) -> dict[str, Any]:
        return {row.task_id: row for row in self.lab.store.task_instances(self._row.id)}

    @property
    def states(self) -> dict[str, str | None]:
        return {task_id: row.state for task_id, row in self.tasks.items()}

    def pushed(self, task_id: str) -> dict[str, Any]:
        """A task's XComs by key."""
        query = "SELECT key, value FROM xcom WHERE dag_run_id = ? AND task_id = ?"
        rows = self.lab.store.cursor.execute(query, (self._row.id, task_id)).fetchall()
        return {key: xcom.loads(text) for key, text in rows}

    def value(self, task_id: str) -> Any:
        """A task's result; None if it pushed none."""
        return self.pushed(task_id).get("return_value")

    def error(self, task_id: str) -> str | None:
        return self.tasks[task_id].error

    def log(self, task_id: str) -> str:
        return str(self.lab.log(task_id))
