"""The pictures of simulated clusters: the queue over time, and the scaling curve."""

import numpy as np
import pytest

from etlkit import viz
from etlkit.errors import EtlkitError
from etlkit.viz.queue_chart import summary, thinned, ticks_until
from etlkit.viz.scaling_curve import series
from tests.viz.samples import queues, scaled


def test_the_average_is_over_time_and_not_over_moments():
    assert summary([(0, 10), (1, 0), (10, 0)]) == (10, 0, 1.0, 10)


@pytest.mark.parametrize("end", [0.5, 1, 59, 61, 3599, 86_399, 10**6, 10**8])
def test_a_scale_has_few_ticks_that_end_where_it_ends(end):
    ticks = ticks_until(end)
    assert 1 <= len(ticks) <= 9
    assert ticks[0] == 0 <= ticks[-1] <= end


def test_what_has_more_moments_than_pixels_keeps_its_peaks():
    (points,) = queues(1).values()
    points[1234] = (points[1234][0], 9_999)
    kept = thinned(points, 100)
    assert len(kept) <= 102
    assert points[1234] in kept
    assert [moment for moment, _ in kept] == sorted(moment for moment, _ in kept)


def test_all_panels_have_the_same_scales():
    picture = viz.queue_depth({"1 × 1": [(0, 8), (480, 0)], "4 × 1": [(0, 4), (120, 0)]})
    panels = picture.axes[1:]
    assert len({axes.get_xlim() for axes in panels}) == len({axes.get_ylim() for axes in panels}) == 1


def test_too_many_clusters_are_refused():
    with pytest.raises(EtlkitError, match="13 clusters are too many for one picture, which shows 12"):
        viz.queue_depth({str(i): [(0, 0)] for i in range(13)})


def test_each_series_is_a_line_in_each_panel_and_no_two_look_alike():
    picture = viz.scaling(scaled())
    names = list(series(scaled()))
    assert names == ["one node, more slots", *(f"more nodes of {k} slot{'s' * (k > 1)}" for k in (1, 4, 16))]
    speed, failures, lost = picture.axes[1:]
    assert [len(axes.lines) for axes in (speed, failures, lost)] == [5, 4, 4]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in failures.lines}
    assert len(looks) == 4
    ideal = speed.lines[0]
    assert np.allclose(ideal.get_ydata(), np.array(ideal.get_xdata()) / min(ideal.get_xdata()))
