"""How long it takes before anything happens: importing, and the first command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .measure import Ratio, in_turn, wall_seconds

DAG_FILE = '''"""A small DAG."""
from datetime import datetime, timezone

from etlkit import DAG, task

with DAG("dag_{i}", schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)) as dag:

    @task
    def extract():
        return {i}

    @task
    def load(value):
        print(value)

    load(extract())
'''


def process_seconds(*command: str, **environment: str) -> float:
    """How long a whole process takes."""
    environ = {**os.environ, **environment}
    return wall_seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ))


def python(code: str) -> float:
    return process_seconds(sys.executable, "-c", code)


def import_etlkit(rounds: int = 15) -> Ratio:
    """`import etlkit` against `import networkx`; the interpreter's own start is taken off both."""

    def without_start(code: str) -> float:
        return max(python(code) - python("pass"), 1e-4)

    ratio, a, b = in_turn(lambda: without_start("import etlkit"), lambda: without_start("import networkx"), rounds)
    return Ratio("import etlkit against import networkx", ratio, 0.5, f"{a * 1e3:.0f} ms against {b * 1e3:.0f} ms")


def dags_list(rounds: int = 11) -> Ratio:
    """`etlkit dags list` over 50 small DAG files against importing duckdb and networkx."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "dags"
        folder.mkdir()
        for i in range(50):
            (folder / f"dag_{i}.py").write_text(DAG_FILE.format(i=i))
        etlkit = str(Path(sys.executable).with_name("etlkit"))

        def ours() -> float:
            return process_seconds(etlkit, "dags", "list", ETLKIT_HOME=home)

        ours()  # writes the bytecode of the 50 files
        ratio, a, b = in_turn(ours, lambda: python("import duckdb, networkx"), rounds)
    detail = f"{a * 1e3:.0f} ms against {b * 1e3:.0f} ms"
    return Ratio("etlkit dags list over 50 files against importing duckdb and networkx", ratio, 2.0, detail)


def main() -> None:
    for line in (import_etlkit(), dags_list()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
