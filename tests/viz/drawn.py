"""What is drawn in a picture: its texts, its shapes, and which of its texts are in each other's way."""

from itertools import combinations
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text


def texts(picture):
    """All that is written in a picture."""
    return [text.get_text() for axes in picture.axes for text in axes.texts if text.get_text()]


class Shape(NamedTuple):
    """A cell or a symbol: its colour and its middle, in inches from the lower left corner."""

    color: str
    x: float
    y: float


def shapes(picture):
    """The cells and symbols of a picture."""
    (axes,) = picture.axes
    return [
        Shape(to_hex(collection.get_facecolor()[0]), *offset)
        for collection in axes.collections
        if isinstance(collection, PathCollection)
        for offset in collection.get_offsets()
    ]


def clashes(picture):
    """The pairs of texts that overlap, and the texts that leave the picture."""
    renderer = FigureCanvasAgg(picture).get_renderer()
    found = [text for text in picture.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in found]
    width, height = picture.bbox.width, picture.bbox.height
    outside = [text for text, box in boxes if min(box.x0, box.y0, width - box.x1, height - box.y1) < -0.5]
    over = [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.padded(-0.5).overlaps(other.padded(-0.5))]
    return over + outside
