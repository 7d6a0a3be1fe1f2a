"""What it costs to keep an eye on a folder of DAG files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from etlkit.dag_folder import DagFolder

from .measure import Ratio, in_turn, wall_seconds
from .startup import DAG_FILE

FILES, BROKEN = 500, 20


def make_folder(folder: Path) -> Path:
    """A folder of `FILES` small DAG files, `BROKEN` of which do not load."""
    folder.mkdir()
    for i in range(FILES):
        fault = "1 / 0\n" if i % (FILES // BROKEN) == 0 else ""
        (folder / f"dag_{i}.py").write_text(DAG_FILE.format(i=i) + fault)
    return folder


def rescan(rounds: int = 7) -> Ratio:
    """A look at a folder in which nothing has changed, against reading it for the first time."""
    with tempfile.TemporaryDirectory() as parent:
        found: list[DagFolder] = []

        def first() -> float:
            folder = make_folder(Path(parent) / str(len(found)))
            return wall_seconds(lambda: found.append(DagFolder(folder)))

        def again() -> float:
            return wall_seconds(found[-1].refresh)

        first()
        ratio, a, b = in_turn(again, first, rounds)
        assert all((len(each.dags), len(each.errors)) == (FILES - BROKEN, BROKEN) for each in found)
    what = f"a look at {FILES} DAG files, {BROKEN} broken, of which none has changed, against the first"
    return Ratio(what, ratio, 0.05, f"{a * 1e3:.1f} ms against {b * 1e3:.0f} ms")


def main() -> None:
    print(rescan(), flush=True)


if __name__ == "__main__":
    main()
