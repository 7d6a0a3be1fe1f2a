"""Every recorded answer of Airflow's `Connection`: URIs and JSON, both ways.

Airflow keeps a part that is missing as None or as an empty text; here it is None either way.
"""

import json
from pathlib import Path

import pytest

from etlkit.connections import Connection
from etlkit.errors import ConfigError

CASES = json.loads((Path(__file__).parent / "cases" / "connections.json").read_text(encoding="utf-8"))["cases"]

REFUSED_HERE = {
    "my_type://h": "no scheme may have an underscore, so Airflow takes all of it for the schema",
    "nonsense": "not a URI, which Airflow takes for a schema without its first letter",
    "//h": "a Connection needs a type",
    "x:///?__extra__=x": "the extra is not JSON",
}
"""What Airflow makes something of, and why we do not."""


def parts(connection):
    names = ("conn_type", "host", "login", "password", "schema", "port", "extra")
    values = {name: getattr(connection, name) for name in names}
    return present({**values, "extra": connection.extra_dejson})


def present(values):
    return {name: value for name, value in values.items() if value not in ("", None, {})}


def of(op):
    return [pytest.param(case, id=case["id"]) for case in CASES if case["op"] == op]


@pytest.mark.parametrize("case", of("from_uri"))
def test_from_uri(case):
    if "error" in case or case["uri"] in REFUSED_HERE:
        with pytest.raises(ConfigError):
            Connection.from_uri(case["uri"], "c")
        return
    connection = Connection.from_uri(case["uri"], "c")
    assert parts(connection) == present(case["result"])
    assert connection.get_uri() == case["uri_again"]


@pytest.mark.parametrize("case", of("get_uri"))
def test_get_uri(case):
    connection = Connection(conn_id="c", **case["fields"])
    assert connection.get_uri() == case["result"]
    assert present(json.loads(connection.as_json())) == present(case["json"])
    if case["result"] in REFUSED_HERE:
        with pytest.raises(ConfigError):
            Connection.from_uri(case["result"], "c")
    else:
        assert parts(Connection.from_uri(case["result"], "c")) == present(case["again"])


@pytest.mark.parametrize("case", of("from_json"))
def test_from_json(case):
    if "error" in case:
        with pytest.raises(ConfigError):
            Connection.from_json(case["json"], "c")
    else:
        assert parts(Connection.from_json(case["json"], "c")) == present(case["result"])
