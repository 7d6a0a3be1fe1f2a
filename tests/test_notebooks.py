"""The notebooks as they are stored: normalised, and of one frame. That their outputs are right is nbval's business."""

import copy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests import notebooks

COURSE = notebooks.notebooks()
LESSONS = [path for path in COURSE if path.parent == notebooks.FOLDER]
"""Those that a learner works through; the others are the solutions."""


def test_there_is_a_course():
    assert [path.name for path in COURSE][:1] == ["00_start_here.ipynb"]


@pytest.fixture(params=COURSE, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_a_stored_notebook_is_normalised(path):
    stored = path.read_text(encoding="utf-8")
    assert stored == notebooks.text(notebooks.normalised(nbformat.reads(stored, as_version=4))), "run: make notebooks"


def test_a_stored_notebook_holds_nothing_of_a_machine(path):
    assert notebooks.faults(nbformat.read(path, as_version=4)) == []


def test_a_stored_notebook_was_run(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.source.strip(), f"cell {cell.id} is empty"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_the_frame(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    for part in ("**After this you can**", "**Takes**", "**Needs**"):
        assert part in cells[0]
    for part in ("## What to take away", "**Words learned:**"):
        assert sum(part in cell for cell in cells) == 1


def test_every_picture_has_its_text_twin(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                assert not data["text/plain"].startswith("<"), f"cell {cell.id}: a picture without words"


def test_programs_of_the_kit_that_a_notebook_starts_keep_out_of_the_learners_home(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "sys.executable" in cell.source and "etlkit" in cell.source:
            assert '"ETLKIT_HOME": ' in cell.source, f"cell {cell.id}"


def test_the_capstone_keeps_its_place_when_cells_are_run_again(monkeypatch, tmp_path):
    cells = {cell.id: cell.source for cell in nbformat.read(notebooks.FOLDER / "12_capstone.ipynb", as_version=4).cells}
    closing = "\n".join(line for line in cells["close"].splitlines() if not line.endswith(".close()"))
    monkeypatch.chdir(tmp_path)
    learner: dict = {}
    exec("import os\nfrom pathlib import Path\nfrom tempfile import TemporaryDirectory", learner)
    assert "cwd()" not in cells["weather"]
    for _ in range(2):
        exec(cells["folder"], learner)
        exec(cells["folder"], learner)
        assert Path.cwd() != tmp_path
        exec(closing, learner)
        assert Path.cwd() == tmp_path
        assert not learner["FOLDER"].exists()


# --- the tool itself --------------------------------------------------------------------------------------------------


def untidy():
    """A notebook as Jupyter leaves one."""
    outputs = [new_output("execute_result", data={"text/plain": "3"}, execution_count=41, metadata={})]
    cells = [
        new_markdown_cell("# Title", metadata={"editable": True}),
        new_code_cell(
            "1 + 2", outputs=outputs, execution_count=41, metadata={"execution": {"a": "2026"}, "tags": ["x"]}
        ),
        new_code_cell("print('hi')", execution_count=7),
    ]
    metadata = {
        "kernelspec": {"name": "mine", "display_name": "Mine"},
        "language_info": {"name": "python", "version": "3.11.7"},
    }
    return new_notebook(cells=cells, metadata=metadata)


def test_normalising_drops_what_changes_by_chance_and_keeps_the_rest():
    before = untidy()
    after = notebooks.normalised(copy.deepcopy(before))
    assert after.metadata == notebooks.METADATA
    assert [cell.get("execution_count") for cell in after.cells] == [None, 1, 2]
    assert after.cells[1].outputs[0].execution_count == 1
    assert [cell.metadata for cell in after.cells] == [{}, {"tags": ["x"]}, {}]
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    assert after.cells[1].outputs[0].data == {"text/plain": "3"}
    assert notebooks.normalised(copy.deepcopy(after)) == after


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (new_output("stream", name="stderr", text="a warning\n"), "writes to stderr: a warning"),
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "raises ValueError: no"),
        (new_output("stream", name="stdout", text=f"in {notebooks.ROOT}/etlkit\n"), "shows the path"),
        (new_output("display_data", data={"text/html": "<b>/tmp/x</b>"}), "shows the path /tmp/"),
    ],
)
def test_what_must_not_be_stored_is_found(output, fault):
    notebook = new_notebook(cells=[new_code_cell("x", id="cell", outputs=[output])])
    assert any(f"cell cell {fault}" in found for found in notebooks.faults(notebook))


def test_an_error_that_is_meant_is_no_fault():
    output = new_output("error", ename="ValueError", evalue="no", traceback=[])
    cell = new_code_cell("x", outputs=[output], metadata={"tags": ["raises-exception"]})
    assert notebooks.faults(new_notebook(cells=[cell])) == []


def test_running_twice_gives_the_same_bytes_and_a_fault_is_not_written(tmp_path, capsys):
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    nbformat.write(untidy(), good)
    nbformat.write(new_notebook(cells=[new_code_cell("import sys; print('no', file=sys.stderr)")]), bad)
    left = bad.read_bytes()
    assert notebooks.main([str(good)]) == 0
    once = good.read_bytes()
    assert notebooks.main([str(good), str(bad)]) == 1
    assert (good.read_bytes(), bad.read_bytes()) == (once, left)
    assert nbformat.reads(once.decode(), as_version=4).cells[2].outputs[0].text == "hi\n"
    assert "bad.ipynb: not written" in capsys.readouterr().out
