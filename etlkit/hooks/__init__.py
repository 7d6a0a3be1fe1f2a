"""Hooks: how tasks talk to outside systems, which are named by the id of a Connection.

A hook takes host, login and password from a Connection, so that no code holds them. Names are Airflow's::

    PostgresHook(postgres_conn_id="warehouse").get_df("SELECT * FROM daily WHERE airport = %s", ["JFK"])

Each has `get_conn()`, which gives the driver's own connection; those of SQL databases also `run`, `get_records`,
`get_first`, `get_df` and `insert_rows`. Write your own by subclassing `BaseHook` or `DbApiHook`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "BaseHook": "base",
    "DbApiHook": "sql",
    "DuckDBHook": "duckdb",
    "HttpHook": "web",
    "PostgresHook": "postgres",
    "SlackWebhookHook": "slack",
    "SqliteHook": "sqlite",
}

if TYPE_CHECKING:
    from etlkit.hooks.base import BaseHook
    from etlkit.hooks.duckdb import DuckDBHook
    from etlkit.hooks.postgres import PostgresHook
    from etlkit.hooks.slack import SlackWebhookHook
    from etlkit.hooks.sql import DbApiHook
    from etlkit.hooks.sqlite import SqliteHook
    from etlkit.hooks.web import HttpHook

__all__ = ["BaseHook", "DbApiHook", "DuckDBHook", "HttpHook", "PostgresHook", "SlackWebhookHook", "SqliteHook"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'etlkit.hooks' has no attribute {name!r}")
    return getattr(import_module(f"etlkit.hooks.{_HOME[name]}"), name)
