"""What the instructors' page and the README say of the course is so."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from etlkit import exercises as ex
from etlkit.exercises.catalog import MODULES, everything, of_notebook
from etlkit.exercises.definition import Prediction
from tests.notebooks import FOLDER, ROOT, notebooks

PAGE = (FOLDER / "INSTRUCTORS.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LESSONS = [path for path in notebooks() if path.parent == FOLDER]
NUMBERS = [path.name[:2] for path in LESSONS]


def said_of(path):
    """The page's section on a notebook."""
    [section] = [part for part in PAGE.split("\n### ")[1:] if f"]({path.name})" in part.splitlines()[0]]
    return section


def frame(path):
    return nbformat.read(path, as_version=4).cells[0].source


def title(path):
    return frame(path).splitlines()[0].removeprefix("# ")


def minutes(path):
    """What a notebook says it takes; in digits or, as the first one does, in words."""
    [taken] = re.findall(r"\*\*Takes\*\* (\w+) minutes", frame(path))
    return 5 if taken == "five" else int(taken)


def by_number(text):
    return [path for number in re.findall(r"\d\d", text) for path in LESSONS if path.name.startswith(number)]


def numbers_after(word, text):
    [found] = re.findall(rf"\*\*{word}:\*\* ([\d, ]+|none)\.", text)
    return [] if found == "none" else [int(number) for number in found.split(", ")]


def its_exercises(path):
    return of_notebook(path.name[:2]) if path.name[:2] in MODULES else ()


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request):
    return request.param


def test_the_page_has_the_notebooks_in_order():
    assert re.findall(r"^### \[.*\]\((.*)\)$", PAGE, re.M) == [path.name for path in LESSONS]


def test_title_and_minutes_are_the_notebooks_own(lesson):
    section = said_of(lesson)
    assert section.startswith(f"[{title(lesson)}]")
    assert numbers_after("Minutes", section) == [minutes(lesson)]


def test_predictions_and_exercises_are_all_named(lesson):
    named = re.findall(r"`(\d\d-[a-z-]+)`", said_of(lesson))
    assert list(dict.fromkeys(named)) == [each.id for each in its_exercises(lesson)]


def test_the_notebook_uses_what_the_page_names(lesson):
    code = "\n".join(cell.source for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code")
    for each in its_exercises(lesson):
        use = "predict" if isinstance(each, Prediction) else "check"
        assert f'ex.{use}("{each.id}"' in code


def test_beliefs_are_those_of_the_exercises(lesson):
    met = {number for each in its_exercises(lesson) for number in each.misconceptions}
    assert numbers_after("Beliefs", said_of(lesson)) == sorted(met)


def test_sections_that_are_mentioned_are_there(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    there = {int(found) for cell in cells for found in re.findall(r"^## (\d+)\. ", cell.source, re.M)}
    mentioned = re.findall(r"[Ss]ections? (\d+)(?: to (\d+))?(?:,? and (\d+))?", said_of(lesson))
    assert {int(number) for numbers in mentioned for number in numbers if number} <= there
    assert mentioned


def left_out(path):
    """The numbers of the sections that a class may do without."""
    said = said_of(path).replace("\n", " ").split("**Short of time:**")[1]
    return {
        int(number)
        for tip in re.findall(r"(?<!not )leave out sections? (\d+(?: and \d+)*)", said)
        for number in tip.split(" and ")
    }


def names(sources, kind):
    """The names that code cells bind (`ast.Store`) or use (`ast.Load`)."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, kind)}
    if kind is ast.Store:
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        found |= {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
        found |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return found


def test_what_may_be_left_out_is_not_needed_later(lesson):
    kept, without, section = [], [], 0
    for cell in nbformat.read(lesson, as_version=4).cells:
        if heading := re.match(r"## (\d+)?", cell.source):
            section = int(heading[1] or 0)
        if cell.cell_type == "code" and not cell.source.startswith("%%"):
            (without if section in left_out(lesson) else kept).append(cell.source)
    assert names(without, ast.Store) & names(kept, ast.Load) <= names(kept, ast.Store)


def test_some_sections_may_be_left_out():
    assert {path.name[:2]: left_out(path) for path in LESSONS if left_out(path)} == {
        "02": {4},
        "04": {7},
        "05": {7},
        "06": {5},
        "07": {8},
        "08": {7, 9},
    }


def test_the_table_of_beliefs_says_where_each_is_met():
    rows = re.findall(r"^\| (\d+) \| .* \| ([\d, ]+) \|$", PAGE, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 16))
    for number, where in rows:
        met = {each.id[:2] for each in everything() if int(number) in each.misconceptions}
        assert where.split(", ") == sorted(met)


def test_the_minutes_of_a_plan_add_up():
    plans = re.findall(r"^\| .* \| (\d\d(?:, \d\d)*) \| (\d+) \|$", PAGE.split("## Plans")[1].split("\n## ")[0], re.M)
    assert len(plans) == 4
    for those, total in plans:
        assert sum(map(minutes, by_number(those))) == int(total)
    assert plans[-1][0].split(", ") == NUMBERS


def test_the_words_for_commands_are_those_there_are():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z]+)`", PAGE)) <= targets
    assert set(re.findall(r"`ex\.([a-z]+)", PAGE)) <= set(ex.__all__)


@pytest.mark.parametrize(("text", "folder"), [(PAGE, FOLDER), (README, ROOT)], ids=["page", "readme"])
def test_links_lead_somewhere(text, folder):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not Path(folder, link).exists()] == []


def test_the_readme_lists_the_course():
    rows = re.findall(r"^\| \[(.*)\]\(notebooks/(.*)\) \| .* \| (\d+) min \|$", README, re.M)
    assert rows == [(title(path), path.name, str(minutes(path))) for path in LESSONS]
