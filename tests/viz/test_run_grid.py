"""The grid of runs and tasks."""

import pytest
from matplotlib.colors import to_hex

from etlkit import viz
from etlkit.errors import EtlkitError
from etlkit.states import TaskInstanceState
from tests.viz.drawn import shapes, texts


def test_the_grid_shows_each_state_by_colour_and_symbol():
    states = [*TaskInstanceState, None]
    picture = viz.grid([(f"r{i}", "t", state, 1) for i, state in enumerate(states)], title="d")
    line = str(picture).splitlines()[1]
    assert line == "t  " + " ".join(viz.STATES[state].symbol for state in states)
    for state in states:
        assert f"{viz.STATES[state].symbol} {state or 'no state yet'}" in str(picture)
    fills = {to_hex(viz.STATES[state].fill) for state in states}
    assert {shape.color for shape in shapes(picture)} >= fills
    assert {"d", "r0", "t"} <= set(texts(picture))


def test_the_grid_counts_tries_and_leaves_gaps():
    cells = [("r1", "a", "success", 2), ("r1", "b", "failed", 3), ("r2", "b", "success", 1)]
    assert str(viz.grid(cells)).splitlines()[:3] == ["r1 … r2", "a  ✓2", "b  ✗3✓"]


def test_a_grid_too_wide_to_read_is_refused():
    with pytest.raises(EtlkitError, match="121 runs are too many for one picture, which shows 120"):
        viz.grid((f"r{i}", "t", "success", 1) for i in range(121))


@pytest.mark.parametrize(("tries", "least"), [(2, 8), (12, 5)])
def test_the_number_of_tries_is_large_enough_to_read_and_stays_in_its_cell(tries, least):
    (axes,) = viz.grid([("r1", "a", "success", tries)]).axes
    square, _symbol, number = axes.collections[:3]  # in inches, around the middle of each
    boxes = [shape.get_paths()[0].get_extents() for shape in (square, number)]
    shift = number.get_offsets()[0] - square.get_offsets()[0]
    assert boxes[1].height * 96 > least  # pixels
    assert abs(shift[0]) + boxes[1].width / 2 < boxes[0].width / 2
    assert abs(shift[1]) + boxes[1].height / 2 < boxes[0].height / 2
