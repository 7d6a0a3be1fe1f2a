"""How two things are compared: in turn, in one run, as a ratio."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple


class Ratio(NamedTuple):
    """A line of the benchmark table."""

    what: str
    value: float
    target: float
    detail: str = ""
    at_least: bool = False
    """Whether more is better."""

    def __str__(self) -> str:
        reached = self.value >= self.target if self.at_least else self.value <= self.target
        bound, met = "≥" if self.at_least else "≤", "met" if reached else "NOT MET"
        detail = f"; {self.detail}" if self.detail else ""
        return f"{self.value:5.2f}  (target {bound} {self.target}, {met})  {self.what}{detail}"


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Measure both, one after the other, `rounds` times: the median of the rounds' ratios, and both medians."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    return ratio, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def wall_seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, in seconds on the wall."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def machine() -> str:
    """The machine in a line: processor, cores, memory, system, Python."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()}, Python {platform.python_version()}"
