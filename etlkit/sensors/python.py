"""Waiting for a Python function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from etlkit.operators.python import call_in_context, check_callable
from etlkit.sensors.base import BaseSensorOperator


class PythonSensor(BaseSensorOperator):
    """Waits until `python_callable` returns something true, or a PokeReturnValue that is done.

    The function is called like that of a PythonOperator.
    """

    template_fields: ClassVar[Sequence[str]] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_callable(self, python_callable, op_kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.templates_dict = templates_dict

    def poke(self, context: Mapping[str, Any]) -> Any:
        keywords = {"templates_dict": self.templates_dict, **self.op_kwargs}
        return call_in_context(self.python_callable, self.op_args, keywords, context)
