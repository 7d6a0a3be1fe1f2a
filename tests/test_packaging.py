"""One list of dependencies, lower bounds only, and licences that are really there."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]


def test_the_conda_environment_is_python_pip_and_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment == {
        "name": PROJECT["name"],
        "channels": ["conda-forge"],
        "dependencies": [
            f"python{PROJECT['requires-python']}",
            "pip",
            {"pip": [f"--editable .[{','.join(sorted(EXTRAS))}]"]},
        ],
    }


def test_the_extras():
    assert set(EXTRAS) == {"cluster", "lab", "test", "web"}
    assert PROJECT["requires-python"] == ">=3.11"


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_every_requirement_has_one_lower_bound_and_no_upper_one(line):
    requirement = Requirement(line)
    if requirement.name == PROJECT["name"]:  # an extra that includes another
        assert requirement.extras <= set(EXTRAS)
        assert not requirement.specifier
    else:
        assert [bound.operator for bound in requirement.specifier] == [">="]


def test_no_requirement_is_listed_twice():
    names = [Requirement(line).name for line in REQUIREMENTS]
    assert sorted(names) == sorted(set(names))


def test_the_licences_are_the_whole_texts():
    assert (PROJECT["license"], PROJECT["license-files"]) == ("Apache-2.0", ["LICENSE", "data/LICENSE"])
    texts = {name: (ROOT / name).read_bytes().replace(b"\r\n", b"\n") for name in PROJECT["license-files"]}
    assert {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()} == {
        "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",  # Apache-2.0
        "data/LICENSE": "a2010f343487d3f7618affe54f789f5487602331c0a8d03f49e9a7c547cf0499",  # CC0-1.0
    }
