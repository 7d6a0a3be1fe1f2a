"""A home folder of its own for every test, so that nobody's progress is touched."""

import pytest

from etlkit.config import conf


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ETLKIT_HOME", str(tmp_path / "home"))
    conf.use(None)
    yield tmp_path / "home"
    conf.use(None)
