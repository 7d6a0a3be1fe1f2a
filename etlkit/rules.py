"""Trigger rules: what a task becomes, from a count of what its upstream tasks became.

A rule is a function of `UpstreamCounts` and answers with a `Verdict`: run, wait, or take a final state without running.
`TRIGGER_RULES` is the table of them all, under Airflow's names. Nothing here knows of a DAG, a run or a database.

>>> counts = UpstreamCounts.of(["success", "skipped", None])
>>> for rule in ("all_success", "none_failed", "one_success"):
...     print(f"{rule:12}", evaluate(rule, counts))
all_success  skip
none_failed  wait
one_success  run

A rule decides as soon as nothing that is still open could change its answer back: one skipped upstream settles
`all_success` while the others run. `upstream_failed` counts as failed, except for `one_done`, which wants something
that really ran. A task without upstream tasks runs under every rule.

Source: Airflow's `TriggerRuleDep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from etlkit.states import TaskInstanceState as S


class TriggerRule(StrEnum):
    """The names of the rules, for `trigger_rule=` (a plain string does as well)."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


class Verdict(StrEnum):
    """What a rule says about a task that has not started."""

    RUN = "run"
    WAIT = "wait"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"


VERDICT_STATE: Mapping[Verdict, str] = {
    Verdict.RUN: S.SCHEDULED.value,
    Verdict.SKIP: S.SKIPPED.value,
    Verdict.UPSTREAM_FAILED: S.UPSTREAM_FAILED.value,
}
"""The state that each verdict but `wait` leads to."""


@dataclass(slots=True)
class UpstreamCounts:
    """How many of a task's direct upstream task instances are in each final state.

    `total` counts them all, also those not finished, and `done` those that will not change any more; `setups` and the
    two after it count only setup tasks among them.
    """

    total: int = 0
    success: int = 0
    failed: int = 0
    skipped: int = 0
    upstream_failed: int = 0
    removed: int = 0
    done: int = 0
    setups: int = 0
    setups_success: int = 0
    setups_skipped: int = 0

    @classmethod
    def of(cls, states: Iterable[str | None], setups: Iterable[str | None] = ()) -> UpstreamCounts:
        """Count a list of states; `setups` are the states of upstream setup tasks.

        >>> UpstreamCounts.of(["success", "running"]).done
        1
        """
        counts = cls()
        for is_setup, group in ((False, states), (True, setups)):
            for state in group:
                counts.total += 1
                counts.setups += is_setup
                if state in FINAL:
                    counts.add(state, is_setup=is_setup)
        return counts

    def add(self, state: str, *, is_setup: bool = False) -> None:
        """One more upstream task instance reached the final `state`."""
        setattr(self, state, getattr(self, state) + 1)
        self.done += 1
        if is_setup:
            self.setups_success += state == "success"
            self.setups_skipped += state in ("skipped", "removed")  # either way there is nothing to tear down

    @property
    def all_done(self) -> bool:
        """Whether none is still open."""
        return self.done >= self.total

    @property
    def bad(self) -> int:
        """How many failed, or never ran because of a failure."""
        return self.failed + self.upstream_failed


FINAL = frozenset(str(s) for s in (S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.REMOVED))

Rule = Callable[[UpstreamCounts], Verdict]
RUN, WAIT, SKIP, UPSTREAM_FAILED = Verdict.RUN, Verdict.WAIT, Verdict.SKIP, Verdict.UPSTREAM_FAILED


def all_success(c: UpstreamCounts) -> Verdict:
    """Every upstream task succeeded."""
    if c.bad:
        return UPSTREAM_FAILED
    if c.skipped:
        return SKIP
    return RUN if c.all_done else WAIT


def all_failed(c: UpstreamCounts) -> Verdict:
    """Every upstream task failed or was upstream_failed."""
    if c.success or c.skipped:
        return SKIP
    return RUN if c.all_done else WAIT


def all_done(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished, however it ended."""
    return RUN if c.all_done else WAIT


def all_done_min_one_success(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished, none was skipped, and one succeeded."""
    if c.skipped:
        return SKIP
    if not c.all_done:
        return WAIT
    return RUN if c.success else UPSTREAM_FAILED


def all_done_setup_success(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished and a setup among them succeeded: the rule of teardowns."""
    if not c.all_done:
        return WAIT
    if not c.setups or c.setups_success:
        return RUN
    return SKIP if c.setups_skipped == c.setups else UPSTREAM_FAILED


def all_skipped(c: UpstreamCounts) -> Verdict:
    """Every upstream task was skipped."""
    if c.success or c.bad:
        return SKIP
    return RUN if c.all_done else WAIT


def one_success(c: UpstreamCounts) -> Verdict:
    """One upstream task succeeded; the others need not be finished."""
    if c.success:
        return RUN
    if not c.all_done:
        return WAIT
    return SKIP if c.skipped == c.total else UPSTREAM_FAILED


def one_failed(c: UpstreamCounts) -> Verdict:
    """One upstream task failed or was upstream_failed; the others need not be finished."""
    if c.bad:
        return RUN
    return SKIP if c.all_done else WAIT


def one_done(c: UpstreamCounts) -> Verdict:
    """One upstream task really ran, to success or failure; the others need not be finished."""
    if c.success or c.failed:
        return RUN
    return SKIP if c.all_done else WAIT


def none_failed(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished and none failed; skipped is fine."""
    if c.bad:
        return UPSTREAM_FAILED
    return RUN if c.all_done else WAIT


def none_failed_min_one_success(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished, none failed, and one succeeded: the rule for joining branches."""
    if c.bad:
        return UPSTREAM_FAILED
    if not c.all_done:
        return WAIT
    return RUN if c.success else SKIP


def none_skipped(c: UpstreamCounts) -> Verdict:
    """Every upstream task is finished and none was skipped; failed is fine."""
    if c.skipped:
        return SKIP
    return RUN if c.all_done else WAIT


def always(c: UpstreamCounts) -> Verdict:
    """At once, whatever the upstream tasks do."""
    return RUN


TRIGGER_RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        all_success,
        all_failed,
        all_done,
        all_done_min_one_success,
        all_done_setup_success,
        all_skipped,
        one_success,
        one_failed,
        one_done,
        none_failed,
        none_failed_min_one_success,
        none_skipped,
        always,
    )
}


def evaluate(rule: str, counts: UpstreamCounts, setups: Iterable[str | None] = ()) -> Verdict:
    """What the task becomes under `rule`; `setups` are the states of the setup tasks it works within.

    A setup that failed or was skipped ends the tasks it was for, whatever their rule, unless that rule is `always`; one
    that is still open keeps them waiting.
    """
    if rule == "always":
        return RUN
    setups = tuple(setups)
    if any(state in ("failed", "upstream_failed") for state in setups):
        return UPSTREAM_FAILED
    if "skipped" in setups:
        return SKIP
    verdict = TRIGGER_RULES[rule](counts) if counts.total else RUN
    if verdict is RUN and not {"success", "removed"}.issuperset(setups):
        return WAIT
    return verdict


def explain(rule: str, counts: UpstreamCounts) -> str:
    """The rule and the counts in words, for the trace and for `why`.

    >>> explain("all_success", UpstreamCounts.of(["success", "running"]))
    'all_success: 1 of 2 done (1 success)'
    """
    kinds = ("success", "failed", "skipped", "upstream_failed", "removed")
    seen = ", ".join(f"{getattr(counts, kind)} {kind}" for kind in kinds if getattr(counts, kind))
    return f"{rule}: {counts.done} of {counts.total} done" + (f" ({seen})" if seen else "")
