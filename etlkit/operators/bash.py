"""Tasks that run a shell command."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from etlkit.dag import BaseOperator
from etlkit.errors import AirflowException, AirflowSkipException, DagError

GRACE = 5.0
"""Wall seconds between asking a command to end and killing it."""

LAST_LINES = 3
"""How many lines of output an error shows."""


class Bash:
    """One bash command: started in a process group of its own, followed line by line, and stopped as a whole."""

    def __init__(
        self, command: str, *, env: Mapping[str, str] | None, cwd: str | Path, encoding: str = "utf-8"
    ) -> None:
        self.encoding = encoding
        bash = shutil.which("bash")
        if bash is None:
            raise AirflowException("bash was not found on PATH; install it, or use a PythonOperator")
        self.process = subprocess.Popen(
            [bash, "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )

    def follow(self, see: Callable[[str], object]) -> int:
        """Hand each line of its output, errors included, to `see` as it comes; returns the exit code once it ended."""
        assert self.process.stdout is not None
        try:
            with self.process.stdout as output:
                for line in output:
                    see(line.decode(self.encoding, errors="backslashreplace").rstrip())
            return self.process.wait()
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Ask it and everything it started to end, at once and without waiting."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._signal(signal.SIGTERM)

    def _end(self) -> None:
        self.stop()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: int) -> None:
        if hasattr(os, "killpg"):
            os.killpg(self.process.pid, number)
        else:  # Windows has no process groups of this kind, and ends at once.
            self.process.terminate()


@contextlib.contextmanager
def folder(cwd: str | Path | None) -> Iterator[Path]:
    """The folder to run in: `cwd`, or one that exists only inside the block; AirflowException if it is none."""
    if cwd is None:
        with tempfile.TemporaryDirectory(prefix="etlkit-") as temporary:
            yield Path(temporary)
    elif not Path(cwd).is_dir():
        raise AirflowException(f"cwd {str(cwd)!r} is not a folder")
    else:
        yield Path(cwd)


def context_variables(context: Mapping[str, Any]) -> dict[str, str]:
    """What a command is told about its task, as environment variables by Airflow's names."""
    ti, run = context["ti"], context["dag_run"]
    moment = run.logical_date
    return {
        "AIRFLOW_CTX_DAG_ID": ti.dag_id,
        "AIRFLOW_CTX_TASK_ID": ti.task_id,
        "AIRFLOW_CTX_DAG_RUN_ID": ti.run_id,
        "AIRFLOW_CTX_TRY_NUMBER": str(ti.try_number),
        **({"AIRFLOW_CTX_LOGICAL_DATE": moment.isoformat()} if moment else {}),
    }


class BashOperator(BaseOperator):
    """Runs `bash_command` (or a rendered `.sh` file); the last line of its output is the task's result.

    - `env`: its environment variables; None is those of this process. With `append_env` it gets both.
    - `cwd`: the folder to run in; None makes one for the time it runs.
    - `skip_on_exit_code`: the exit code, or several, that make the task skipped; any other but zero fails it.
    - `output_processor`: a function of the last line whose value becomes the result.

    Bash goes by the exit code of the last command alone: begin with `set -e` to stop at the first that fails. A value
    that comes from outside belongs into `env`, not into the command.
    """

    template_fields: ClassVar[Sequence[str]] = ("bash_command", "env", "cwd")
    template_ext: ClassVar[Sequence[str]] = (".sh", ".bash")
    ui_color: ClassVar[str] = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command: str,
        env: Mapping[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Container[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] = str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(output_processor):
            raise DagError(f"task {self.task_id!r}: output_processor must be a function, not {output_processor!r}")
        self.bash_command, self.env, self.append_env, self.cwd = bash_command, env, append_env, cwd
        self.output_encoding, self.output_processor = output_encoding, output_processor
        codes = () if skip_on_exit_code is None else skip_on_exit_code
        self.skip_on_exit_code = codes if isinstance(codes, Container) else (codes,)
        self._bash: Bash | None = None

    def execute(self, context: Mapping[str, Any]) -> Any:
        return self.run_command(self.bash_command, context)

    def run_command(self, command: str, context: Mapping[str, Any]) -> Any:
        """Run `command` and read off how it ended."""
        if not isinstance(command, str) or not command.strip():
            raise AirflowException(
                f"{self.task_id!r}: the bash command must be a string with something in it, not {command!r}"
            )
        inherited = os.environ if self.env is None or self.append_env else {}
        env = {**inherited, **(self.env or {}), **context_variables(context)}
        self.log.info("runs %s", command)
        tail = deque([""], maxlen=LAST_LINES)
        with folder(self.cwd) as cwd:
            self._bash = Bash(command, env=env, cwd=cwd, encoding=self.output_encoding)
            code = self._bash.follow(partial(self._see, tail))
        self._check(code, tail)
        return self.output_processor(tail[-1])

    def _see(self, tail: deque[str], line: str) -> None:
        self.log.info("%s", line)
        tail.append(line)

    def _check(self, code: int, tail: Iterable[str]) -> None:
        self.log.info("ended with exit code %s", code)
        if code in self.skip_on_exit_code:
            raise AirflowSkipException(f"the command ended with exit code {code}")
        if code:
            shown = " | ".join(line for line in tail if line) or "nothing"
            raise AirflowException(f"the command ended with exit code {code}; its last words: {shown}")

    def on_kill(self) -> None:
        if self._bash is not None:
            self._bash.stop()
