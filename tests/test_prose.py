"""The numbers that the notebooks tell are those that their outputs show."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests import notebooks
from tests.prose import drifting


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_the_prose_of_a_notebook_agrees_with_its_outputs(path):
    assert drifting(nbformat.read(path, as_version=4)) == []


def found(*cells):
    return [text.partition(": ")[2] for text in drifting(new_notebook(cells=list(cells)))]


def counted(text, source="count()"):
    return new_code_cell(source, outputs=[new_output("stream", text=text)])


@pytest.mark.parametrize(
    ("prose", "output"),
    [
        ("There are 31 runs.", "31 runs"),
        ("Thirteen runs, 336,776 flights.", "13 of 336776"),
        ("It took 2.5 hours, about 57 °F.", "2.4834 and 56.93"),
        ("On 8 January at 14:00.", "2013-01-08 14:00:00"),
        ("Three rows.", "three rows"),
        ("One row, and [more](https://example.org/99).\n\n1. First", ""),
        ("24 hours <!-- given: 24 -->", ""),
        ("`x = 10_000` rows", "10000"),
    ],
)
def test_prose_that_agrees(prose, output):
    assert found(counted(output), new_markdown_cell(prose)) == []


@pytest.mark.parametrize(
    ("prose", "output", "drifted"),
    [
        ("There are 31 runs.", "30 runs", ["31"]),
        ("Seven rows, 1,000 flights.", "8 rows, 1001 flights", ["1,000", "Seven"]),
        ("About 2.5 hours.", "2.56", ["2.5"]),
        ("3 rows", "2.9", ["3"]),
        ("24 hours <!-- given: 23 -->", "", ["24"]),
    ],
)
def test_prose_that_drifted(prose, output, drifted):
    assert found(counted(output), new_markdown_cell(prose)) == drifted


def test_a_number_is_looked_for_in_its_own_section():
    section = new_markdown_cell("## Next\n\nAll 31 are there.")
    assert found(counted("31 runs"), section, counted("30 runs")) == ["31"]
    assert found(counted("31 runs"), section) == []


def test_what_the_source_of_a_cell_says_counts():
    assert found(counted("", source="lab.run_until('2013-01-03')"), new_markdown_cell("It is 3 January.")) == []
