"""Keeps a scheduler in step with a folder of DAG files while both change (Airflow's DAG processor).

Every [dag_processor] refresh_interval seconds it looks at the files. What is new or changed is taken over, with runs
that are under way: they go on with the DAG as it is now. A DAG whose file is gone or broken rests, its history stays,
and it goes on when it is back. Files that do not load are rows of `import_error`, so that everybody sees the same.

>>> import tempfile
>>> from pathlib import Path
>>> from datetime import UTC, datetime
>>> from etlkit.clock import SimulatedClock
>>> from etlkit.executors.sequential import SequentialExecutor
>>> from etlkit.store import Store
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "weather.py").write_text("from etlkit import DAG\\nwith DAG('weather'): pass")
>>> scheduler = Scheduler(Store("sqlite://"), SimulatedClock(datetime(2013, 1, 1, tzinfo=UTC)), SequentialExecutor())
>>> processor = DagProcessor(scheduler, DagFolder(folder))
>>> print(processor.look())
DAGs: 1 new
>>> list(scheduler.dags)
['weather']
>>> processor.look()    # not before the interval is over
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.dag_folder import DagFolder
from etlkit.errors import DagFileError
from etlkit.scheduler import Scheduler
from etlkit.tables import record_import_errors


class Changes(NamedTuple):
    """What a look at the files has found: ids of DAGs, the files that do not load now, and those that are mended."""

    new: list[str]
    changed: list[str]
    gone: list[str]
    errors: list[DagFileError]
    mended: list[str]

    def __str__(self) -> str:
        counts = {"new": len(self.new), "changed": len(self.changed), "gone": len(self.gone)}
        dags = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none new, changed or gone"
        broken = f"; files that do not load: {len(self.errors)}" if self.errors else ""
        return f"DAGs: {dags}{broken}"


class DagProcessor:
    """Looks after the DAGs of `folder` for a scheduler; `paused` says which of those never seen before start paused."""

    def __init__(
        self, scheduler: Scheduler, folder: DagFolder, paused: Callable[[DAG], bool] = lambda _: False
    ) -> None:
        self.scheduler, self.folder, self.paused = scheduler, folder, paused
        self.clock = scheduler.clock
        self.next_look = self.clock.now()
        self._taken: dict[str, DAG] = {}
        self._broken: set[str] = set()
        self._behind = True  # also after an error: then the next look takes over what is left

    def look(self) -> Changes | None:
        """Look at the files if it is time to; what was found, None if nothing has changed."""
        now = self.clock.now()
        if now < self.next_look:
            return None
        self.next_look = now + timedelta(seconds=conf.get("dag_processor", "refresh_interval"))
        return self.refresh()

    def refresh(self) -> Changes | None:
        """Look at the files now."""
        if not self.folder.refresh() and not self._behind:
            return None
        self._behind = True
        record_import_errors(self.scheduler.store, self.folder.errors, self.clock.now(), within=self.folder.path)
        broken, self._broken = self._broken, {error.path for error in self.folder.errors}
        changes = Changes(*self._take_over(), self.folder.errors, sorted(broken - self._broken))
        self._behind = False
        return changes

    def _take_over(self) -> tuple[list[str], list[str], list[str]]:
        """Give the scheduler the DAGs as they are now; which are new, changed and gone."""
        taken, files = self._taken, self.folder.dags
        new = [dag_id for dag_id in files if dag_id not in taken]
        changed = [dag_id for dag_id in files if dag_id in taken and taken[dag_id] is not files[dag_id]]
        gone = [dag_id for dag_id in taken if dag_id not in files]
        for dag_id in [*gone, *changed]:
            self.scheduler.remove_dag(dag_id)
            del taken[dag_id]
        for dag_id in [*new, *changed]:
            self.scheduler.add_dag(files[dag_id], paused=self.paused(files[dag_id]))
            taken[dag_id] = files[dag_id]
        return new, changed, gone
