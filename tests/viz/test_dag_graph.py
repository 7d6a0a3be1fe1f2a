"""The graph of a DAG."""

from collections import Counter
from itertools import pairwise

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from etlkit import viz
from etlkit.dag import DAG, Label
from etlkit.errors import EtlkitError
from etlkit.operators import EmptyOperator
from tests.engine import Do, make_dag
from tests.viz.drawn import texts


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
        "2  b  after a (if new)",
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
