"""DAGs out of plain data, so that the same one can be made in any process: a copy of this lies beside DAG files."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from etlkit import DAG, BaseOperator
from etlkit.errors import AirflowFailException, AirflowSkipException


class Step(NamedTuple):
    """A task: what each try does ("ok", "fail", "skip" or "give up"; the last holds for all later ones), and when."""

    task_id: str
    tries: tuple[str, ...] = ("ok",)
    after: tuple[str, ...] = ()
    trigger_rule: str = "all_success"
    retries: int = 0


ERRORS = {"fail": ValueError, "skip": AirflowSkipException, "give up": AirflowFailException}


class Do(BaseOperator):
    """Does what its step says of each try, and leaves its number."""

    def __init__(self, tries, **kwargs):
        self.tries = tries
        super().__init__(**kwargs)

    def execute(self, context):
        number = context["ti"].try_number
        what = self.tries[min(number, len(self.tries)) - 1]
        if what in ERRORS:
            raise ERRORS[what](f"{what} in try {number}")
        return number


def dag_of_steps(dag_id, steps):
    """A DAG with a task for each step."""
    with DAG(dag_id, start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        for step in map(Step._make, steps):
            options = {"retries": step.retries, "retry_delay": timedelta(minutes=1), "trigger_rule": step.trigger_rule}
            task = Do(step.tries, task_id=step.task_id, **options)
            task << [dag.task_dict[before] for before in step.after]
    return dag
