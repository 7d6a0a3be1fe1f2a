"""Pictures: each draws what it should, and its text twin says the same."""

import io
from collections import Counter
from datetime import date
from itertools import pairwise

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from etlkit import viz
from etlkit.dag import DAG, Label
from etlkit.errors import EtlkitError
from etlkit.operators import EmptyOperator
from etlkit.states import TaskInstanceState
from tests.engine import Do, make_dag

DAYS = [
    ("JFK", date(2013, 1, 2), 28.0, 21.9, 34.0),
    ("EWR", date(2013, 1, 1), 36.0, 28.0, 41.0),
    ("JFK", date(2013, 1, 1), 37.0, 26.1, 39.9),
    ("EWR", date(2013, 1, 2), 29.0, 24.1, 34.0),
]


def texts(picture):
    """All that is written in a picture."""
    return [text.get_text() for axes in picture.axes for text in axes.texts if text.get_text()]


PICTURES = {
    "graph": lambda: viz.graph(make_dag("d", "a >> b")),
    "no tasks": lambda: viz.graph(DAG("empty")),
    "grid": lambda: viz.grid([("2013-01-01", "a", "success", 1)]),
    "no runs": lambda: viz.grid([]),
    "temperatures": lambda: viz.temperatures(DAYS),
    "no days": lambda: viz.temperatures([]),
}
"""One of each, and the smallest that there can be."""


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_a_figure_that_a_notebook_shows_with_its_text_twin(name):
    picture = PICTURES[name]()
    assert isinstance(picture, Figure)
    assert repr(picture) == str(picture) == picture.words
    png, size = picture._repr_png_()
    width, height = Image.open(io.BytesIO(png)).size
    assert (width // 2, height // 2) == (size["width"], size["height"])
    assert PICTURES[name]()._repr_png_() == (png, size), "the same bytes each time"


def test_no_picture_stays_in_pyplot():
    import matplotlib.pyplot as plt

    for make in PICTURES.values():
        make()
    assert plt.get_fignums() == []


# --- graph ------------------------------------------------------------------------------------------------------------


def test_the_graph_draws_every_task_and_edge_in_layers():
    with DAG("dag") as dag:
        a, b, c, d = (EmptyOperator(task_id=name) for name in "abcd")
        a >> Label("if new") >> b >> d
        a >> c >> d
        a >> d
    picture = viz.graph(dag)
    assert str(picture).splitlines() == [
        "dag: 4 tasks in 3 layers",
        "1  a",
        "2  b  after a",
        "2  c  after a",
        "3  d  after b, c, a",
    ]
    (axes,) = picture.axes
    kinds = Counter(type(patch) for patch in axes.patches)
    assert kinds == {FancyBboxPatch: 4, FancyArrowPatch: 5}
    assert sorted(texts(picture)) == sorted(["dag", "a", "b", "c", "d", "if new", *["EmptyOperator"] * 4])
    x = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert x["a"] < x["b"] == x["c"] < x["d"]


def test_an_edge_that_jumps_over_layers_crosses_no_box():
    picture = viz.graph(make_dag("d", "a >> b >> c >> e, a >> e, a >> c, b >> e"))
    patches = picture.axes[0].patches
    boxes = [patch.get_bbox().padded(-0.02) for patch in patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in patches if isinstance(patch, FancyArrowPatch)]
    assert (len(boxes), len(arrows)) == (4, 6)
    for arrow in arrows:
        line = arrow._path_original.to_polygons(closed_only=False)[0]
        steps = [(here + there) / 2 for here, there in pairwise(line)]
        assert not any(box.contains(*point) for box in boxes for point in [*line, *steps])


def test_neighbours_are_placed_side_by_side():
    picture = viz.graph(make_dag("d", "a >> x, b >> y", tasks=[Do("a"), Do("b"), Do("y"), Do("x")]))
    y = {text.get_text(): text.get_position()[1] for text in picture.axes[0].texts}
    assert (y["a"], y["b"]) == (y["x"], y["y"])


def test_a_graph_too_big_to_read_is_refused_with_what_to_do():
    with DAG("d") as dag:
        for i in range(viz.MOST_TASKS + 1):
            EmptyOperator(task_id=f"t{i}")
    with pytest.raises(EtlkitError, match=r"301 tasks and a picture shows 300; draw a part: .*partial_subset"):
        viz.graph(dag)
    assert viz.graph(dag.partial_subset(["t0"])).words.splitlines()[0] == "d: 1 task in 1 layer"


# --- grid -------------------------------------------------------------------------------------------------------------


def test_the_grid_shows_each_state_by_colour_and_symbol():
    states = [*TaskInstanceState, None]
    picture = viz.grid([(f"r{i}", "t", state, 1) for i, state in enumerate(states)], title="d")
    line = str(picture).splitlines()[1]
    assert line == "t  " + " ".join(viz.STATES[state].symbol for state in states)
    for state in states:
        assert f"{viz.STATES[state].symbol} {state or 'no state yet'}" in str(picture)
    cells = picture.axes[0].patches[: len(states)]
    assert [to_rgb(cell.get_facecolor()) for cell in cells] == [to_rgb(viz.STATES[state].fill) for state in states]
    assert {"d", "r0", "r7", "t"} <= set(texts(picture))


def test_every_state_has_a_look_of_its_own():
    assert viz.STATES.keys() == {*TaskInstanceState, None}
    symbols = [look.symbol for look in viz.STATES.values()]
    assert len(set(symbols)) == len(symbols)


def test_what_is_written_on_a_colour_can_be_read():
    def luminance(color):
        channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))

    for look in viz.STATES.values():
        dark, light = sorted((luminance(look.fill), luminance(look.ink)))
        assert (light + 0.05) / (dark + 0.05) >= 3, look


def test_the_grid_counts_tries_and_leaves_gaps():
    cells = [("r1", "a", "success", 2), ("r1", "b", "failed", 3), ("r2", "b", "success", 1)]
    picture = viz.grid(cells)
    assert str(picture).splitlines()[:3] == ["r1 … r2", "a  ✓2", "b  ✗3✓"]
    assert {"2", "3"} <= set(texts(picture))


def test_a_grid_too_wide_to_read_is_refused():
    with pytest.raises(EtlkitError, match="121 runs are too many for one picture, which shows 120"):
        viz.grid((f"r{i}", "t", "success", 1) for i in range(121))


# --- temperatures -----------------------------------------------------------------------------------------------------


def test_temperatures_draws_a_panel_for_each_airport_and_marks_the_extremes():
    picture = viz.temperatures(DAYS, "Weather")
    assert str(picture).splitlines() == [
        "airport  days   mean  coldest             warmest",
        "EWR         2   32.5  24.1 on 2013-01-02  41.0 on 2013-01-01",
        "JFK         2   32.5  21.9 on 2013-01-02  39.9 on 2013-01-01",
    ]
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["EWR", "JFK"]
    assert [line.get_ydata().tolist() for axes in picture.axes for line in axes.lines[:1]] == [[36, 29], [37, 28]]
    assert texts(picture) == ["▼ 24", "▲ 41", "▼ 22", "▲ 40"]
    assert picture.get_suptitle() == "Weather"


def test_every_sign_has_a_glyph_in_matplotlibs_own_font():
    font = matplotlib.font_manager.get_font(matplotlib.font_manager.findfont("DejaVu Sans"))
    known = font.get_charmap()
    signs = {sign for look in viz.STATES.values() for sign in look.symbol} | set("▲▼°")
    assert {sign for sign in signs if ord(sign) not in known} == set()
