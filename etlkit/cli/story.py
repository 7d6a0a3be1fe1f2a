"""What a scheduler does, told line by line on stderr."""

from __future__ import annotations

import click

from etlkit.cli.tables import STATE_STYLES
from etlkit.events import Listener, RunEvent, TaskEvent, clock_text

QUIET = frozenset({None, "scheduled", "queued", "removed"})
"""States of task instances that come and go too quickly to be worth a line."""


class Story(Listener):
    """Tells of each run that starts or ends, and of each attempt."""

    def on_run(self, event: RunEvent) -> None:
        if event.new != "queued":
            _tell(event, event.dag_id, event.run_id)

    def on_task(self, event: TaskEvent) -> None:
        if event.new not in QUIET:
            index = f"[{event.map_index}]" if event.map_index >= 0 else ""
            number = f" try {event.try_number}" if event.try_number > 1 else ""
            _tell(event, f"{event.dag_id}.{event.task_id}{index}", f"{event.run_id}{number}")


def _tell(event: RunEvent | TaskEvent, who: str, which: str) -> None:
    state = click.style(event.new, fg=STATE_STYLES.get(str(event.new)))
    reason = f" ({event.reason})" if event.reason else ""
    click.echo(f"{clock_text(event.at.replace(microsecond=0))} {who} {which}: {state}{reason}", err=True)
