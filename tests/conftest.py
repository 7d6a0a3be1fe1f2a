"""What tests share: the command line in a home folder of its own, and how properties are searched.

Properties are tried with the same examples each time, so that a test says the same today and tomorrow;
`HYPOTHESIS_PROFILE=explore pytest` tries others. A machine that is busy fails no test.
"""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest
from click.testing import CliRunner
from hypothesis import settings

from etlkit.cli import cli
from etlkit.clock import SystemClock
from etlkit.config import conf

settings.register_profile("etlkit", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "etlkit"))


@pytest.fixture(autouse=True, scope="session")
def no_home_of_a_person(tmp_path_factory):
    """Whatever asks for ETLKIT_HOME finds an empty folder, and not that of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETLKIT_HOME", str(tmp_path_factory.mktemp("home")))
        conf.use(None)
        yield


class CommandLine:
    """The `etlkit` command in a home folder of its own; called with the words of a command, it gives the result."""

    def __init__(self, home):
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir(parents=True)
        self.environ = {**os.environ, "ETLKIT_HOME": str(home)}
        self.started = []

    def __call__(self, *words):
        """Run a command in this process."""
        return CliRunner().invoke(cli, [str(word) for word in words], prog_name="etlkit")

    def json(self, *words, exit_code=0):
        """What a command prints with `--output json`."""
        result = self(*words, "--output", "json")
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)

    def refused(self, *words):
        """The one line with which a command refuses; there is nothing on stdout, and the exit code is 2."""
        result = self(*words)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("etlkit: ")
        return line.removeprefix("etlkit: ")

    def start(self, *words, **options):
        """Start a command as a process of its own, which is killed at the end of the test if it still runs."""
        command = [sys.executable, "-m", "etlkit", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.started.append(subprocess.Popen(command, env=self.environ, text=True, **{**pipes, **options}))
        return self.started[-1]

    def wait_for(self, condition):
        """Return when what was started has come so far; an error, with what it said, if it ended instead."""
        for _ in range(2400):
            if condition():
                return
            for process in self.started:
                assert process.poll() is None, process.communicate()
            SystemClock().sleep(0.025)
        raise AssertionError("waited a minute in vain")

    def end(self):
        """Kill what was started and still runs."""
        for process in self.started:
            with process:
                process.kill()

    def dag_file(self, name, text):
        """Write a file into the DAG folder; its path."""
        path = self.dags / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path


@pytest.fixture
def own_imports(tmp_path, monkeypatch):
    """Forget in the end which folders became importable, and what was imported from `tmp_path`."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = vars(sys.modules[name])
        if str(tmp_path) in f"{module.get('__file__')} {module.get('__path__')}":  # some packages have no file
            del sys.modules[name]


@pytest.fixture
def etlkit(tmp_path, monkeypatch, own_imports):
    """A `CommandLine` in a new home folder."""
    monkeypatch.setenv("ETLKIT_HOME", str(tmp_path / "home"))
    conf.use(None)
    command = CommandLine(tmp_path / "home")
    yield command
    command.end()
    conf.use(None)


@pytest.fixture
def tiny_disk(tmp_path):
    """The folder of a file system that has room for half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)
