"""Pictures of DAGs, runs and results, each with a text twin.

Every function returns a `Picture`: a matplotlib `Figure` that a notebook shows and `savefig` writes to a file. Its
`words` (what `print` shows) says the same in words, for those who do not see the picture and for tests. Colours are
Okabe and Ito's, which colour-blind eyes tell apart, and a colour is never the only sign.

Nothing here touches pyplot, so a picture is shown once, where it is asked for, and is gone when nobody holds it.
"""

from etlkit.viz.dag_graph import MOST_TASKS, graph
from etlkit.viz.interval_timeline import timeline
from etlkit.viz.looks import STATES, TELLING, Picture
from etlkit.viz.merge_bars import merge_counts
from etlkit.viz.queue_chart import MOST_CLUSTERS, queue_depth
from etlkit.viz.rule_table import trigger_rules
from etlkit.viz.run_calendar import calendar
from etlkit.viz.run_gantt import Attempt, gantt
from etlkit.viz.run_grid import MOST_RUNS, Cell, grid
from etlkit.viz.scaling_curve import Scaled, scaling
from etlkit.viz.state_chart import state_machine
from etlkit.viz.weather import Day, temperatures

__all__ = [
    "MOST_CLUSTERS", "MOST_RUNS", "MOST_TASKS", "STATES", "TELLING", "Attempt", "Cell", "Day", "Picture", "Scaled",
    "calendar", "gantt", "graph", "grid", "merge_counts", "queue_depth", "scaling", "state_machine", "temperatures",
    "timeline", "trigger_rules",
]  # fmt: skip
