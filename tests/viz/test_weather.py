"""The weather."""

from etlkit import viz
from tests.viz.drawn import texts
from tests.viz.samples import DAYS


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
