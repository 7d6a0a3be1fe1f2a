"""What every hook has: a Connection."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.masking import mask


class BaseHook:
    """A hook: subclass it, set `conn_type` and `default_conn_name`, and write `get_conn` and `test_connection`.

    `conn_id` names the Connection, which is looked up when it is used; `connection` is one that needs no looking up.
    """

    conn_type: ClassVar[str] = ""
    default_conn_name: ClassVar[str] = ""

    def __init__(self, conn_id: str | None = None, *, connection: Connection | None = None) -> None:
        self.conn_id = connection.conn_id if connection else conn_id or self.default_conn_name
        self._connection = connection
        self.log = logging.getLogger(f"etlkit.task.{type(self).__name__}")

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """A Connection by its name; AirflowNotFoundException if there is none.

        >>> from etlkit.config import Config, conf
        >>> conf.use(Config(environ={"ETLKIT_CONN_WEB": "http://anna:hunter22@example.org"}))
        >>> BaseHook.get_connection("web").host
        'example.org'
        >>> conf.use(None)
        """
        return Connection.get(conn_id)

    @classmethod
    def get_hook(cls, conn_id: str, hook_params: Mapping[str, Any] | None = None) -> Any:
        """The hook for a Connection, by its type."""
        return Connection.get(conn_id).get_hook(hook_params=hook_params)

    @property
    def connection(self) -> Connection:
        """The Connection in use."""
        return self._connection or Connection.get(self.conn_id)

    def get_conn(self) -> Any:
        """The driver's own connection; whoever asks for it closes it."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it connects; write get_conn")

    def test_connection(self) -> str:
        """Reach the system once and say how that went; HookError if it cannot be reached."""
        raise NotImplementedError(f"{type(self).__name__} cannot be tested; write test_connection")

    def refusal(self, reason: object) -> HookError:
        """An error in one line, with the name of the Connection and without secrets."""
        return HookError(self.conn_id, " ".join(mask(str(reason)).split()))
