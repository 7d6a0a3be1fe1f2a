"""Waiting for a shell command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from etlkit.errors import AirflowFailException
from etlkit.operators.bash import Bash, folder
from etlkit.sensors.base import BaseSensorOperator


class BashSensor(BaseSensorOperator):
    """Waits until `bash_command` ends with exit code 0.

    With `retry_exit_code` only that code means "not yet", and any other fails the task; without it every code does.
    """

    template_fields: ClassVar[Sequence[str]] = ("bash_command", "env")
    template_ext: ClassVar[Sequence[str]] = (".sh", ".bash")

    def __init__(
        self,
        *,
        bash_command: str,
        env: Mapping[str, str] | None = None,
        output_encoding: str = "utf-8",
        retry_exit_code: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command, self.env, self.output_encoding = bash_command, env, output_encoding
        self.retry_exit_code = retry_exit_code
        self._bash: Bash | None = None

    def poke(self, context: Mapping[str, Any]) -> bool:
        with folder(None) as cwd:
            self._bash = Bash(self.bash_command, env=self.env, cwd=cwd, encoding=self.output_encoding)
            code = self._bash.follow(lambda line: self.log.info("%s", line))
        if code and self.retry_exit_code not in (None, code):
            raise AirflowFailException(
                f"the command ended with exit code {code}; only {self.retry_exit_code} means to wait"
            )
        return code == 0

    def on_kill(self) -> None:
        if self._bash is not None:
            self._bash.stop()
