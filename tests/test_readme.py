"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

from tests.servers import postgres, redis

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def test_the_script_prints_what_the_readme_shows(tmp_path):
    place = next(i for i, (language, text) in enumerate(BLOCKS) if language == "python" and "import etlkit" in text)
    script, shown = BLOCKS[place][1], BLOCKS[place + 1][1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == shown


def test_the_cluster_runs(tmp_path):
    postgres(), redis()  # skips, or fails in CI, where there is none
    (script,) = (text for language, text in BLOCKS if language == "python" and "Cluster" in text)
    (said,) = re.findall(r"# ({.*})\n", script)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == said
    assert [line for line in lines if "killed" in line] == [line for line in lines if "worker-2" in line]


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", README)) - {"and"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
