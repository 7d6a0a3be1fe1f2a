"""Pictures: each draws what it should, and its text twin says the same."""

import io
from functools import cache
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from etlkit import viz
from etlkit.states import TaskInstanceState
from etlkit.viz import looks
from etlkit.viz.rule_table import VERDICTS
from tests.viz.drawn import clashes, texts
from tests.viz.samples import HANGUL, PICTURES

drawn = cache(lambda name: PICTURES[name]())


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_a_figure_that_fits_a_notebook_and_no_text_hides_another(name):
    picture = drawn(name)
    assert isinstance(picture, Figure)
    assert repr(picture) == str(picture) == picture.words
    assert picture.get_size_inches()[0] <= 9.4
    assert clashes(picture) == []


@pytest.mark.parametrize("name", [name for name in PICTURES if ":" not in name])
def test_a_notebook_shows_the_same_sharp_image_each_time(name):
    png, size = drawn(name)._repr_png_()
    width, height = Image.open(io.BytesIO(png)).size
    assert (width // 2, height // 2) == (size["width"], size["height"])
    assert PICTURES[name]()._repr_png_() == (png, size)


def test_no_picture_stays_in_pyplot():
    import matplotlib.pyplot as plt

    assert drawn("grid")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", [name for name in PICTURES if "Hangul" in name])
def test_hangul_is_in_the_words_whatever_the_fonts(name):
    assert HANGUL in drawn(name).words


def test_a_sign_without_a_font_is_spelled_or_becomes_a_box(monkeypatch):
    monkeypatch.setattr(looks, "_letters", lambda: frozenset(map(ord, "_□ abc")))
    assert looks.spelled.__wrapped__("날씨_🎈\n") == "nalssi_□ "


def test_nothing_in_a_name_is_taken_for_a_formula():
    picture = viz.grid([("$x$", "a$b^2$", "success", 1)], "$\\oops$")
    assert {"$x$", "a$b^2$", "$\\oops$"} <= set(texts(picture))
    picture._repr_png_()


def test_what_is_too_long_keeps_both_ends():
    short = looks.shortened("x" + "o" * 500 + "y", 1.0)
    assert (short[0], short[-1], "…" in short) == ("x", "y", True)
    assert looks.text_width(short) <= 1.0


def test_every_state_has_a_look_of_its_own():
    assert viz.STATES.keys() == {*TaskInstanceState, None}
    symbols = [look.symbol for look in viz.STATES.values()]
    assert len(set(symbols)) == len(symbols)


SIGHTS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""What colour-blind eyes see, as matrices on linear RGB (Machado, Oliveira and Fernandes, 2009)."""


def lab_color(color, sight):
    """A colour as such eyes see it, in CIELAB, where a distance of 10 is plain to see."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(sight) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    x, y, z = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
def test_colour_blind_eyes_tell_the_states_apart(sight):
    fills = {look.fill for look in viz.STATES.values()}
    seen = {fill: lab_color(fill, SIGHTS[sight]) for fill in fills}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(sorted(fills), 2)}
    assert {pair: round(distance) for pair, distance in distances.items() if distance < 10} == {}


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
    signs = {look.symbol for look in (*viz.STATES.values(), *VERDICTS.values())} | set("▲▼°▷…")
    assert {sign for sign in signs if ord(sign) not in known} == set()
