"""Callbacks read the Variables of the database that their run is in, wherever they are called from."""

from etlkit import DAG, Lab, Variable, task


def test_callbacks_of_tasks_and_runs_read_the_labs_variables():
    seen = []

    def note(context):
        seen.append(Variable.get("colour"))

    with DAG("d", on_success_callback=note) as dag:
        task(lambda: None, task_id="t", on_execute_callback=note, on_success_callback=note)()
    with Lab(start="2013-01-01") as lab:
        lab.variables.set("colour", "green")
        lab.add(dag).trigger()
        assert seen == ["green"] * 3
