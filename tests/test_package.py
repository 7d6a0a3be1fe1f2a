"""The package's own names."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import etlkit


def test_every_name_is_found_and_type_checkers_see_the_same():
    tree = ast.parse(Path(etlkit.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert set(seen) == set(etlkit.__all__) - {"__version__"}
    for name, module in seen.items():
        assert getattr(etlkit, name) is getattr(importlib.import_module(module), name)


def test_the_decorator_keeps_its_name_when_its_namesake_module_is_imported():
    code = "import etlkit.dag, etlkit.taskflow\nfrom etlkit import dag\nassert dag is etlkit.taskflow.dag is etlkit.dag"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'pandas', 'sqlalchemy', 'matplotlib', 'networkx', 'duckdb', 'jinja2', 'pendulum', 'click', 'rich'}"
    code = f"import sys, etlkit\nassert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tusk'"):
        etlkit.tusk  # noqa: B018
