"""Pictures: each draws what it should, and its text twin says the same."""

import io
from datetime import date

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from etlkit import viz
from etlkit.dag import DAG
from etlkit.states import TaskInstanceState
from tests.engine import make_dag

DAYS = [
    ("JFK", date(2013, 1, 2), 28.0, 21.9, 34.0),
    ("EWR", date(2013, 1, 1), 36.0, 28.0, 41.0),
    ("JFK", date(2013, 1, 1), 37.0, 26.1, 39.9),
    ("EWR", date(2013, 1, 2), 29.0, 24.1, 34.0),
]


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


def test_every_sign_has_a_glyph_in_matplotlibs_own_font():
    font = matplotlib.font_manager.get_font(matplotlib.font_manager.findfont("DejaVu Sans"))
    known = font.get_charmap()
    signs = {sign for look in viz.STATES.values() for sign in look.symbol} | set("▲▼°")
    assert {sign for sign in signs if ord(sign) not in known} == set()
