"""Runs every notebook and writes it back normalised: `python -m tests.notebooks [NOTEBOOK…]`, or `make notebooks`.

What is stored must not change by chance, as `pytest --nbval` compares it with what each cell gives. So a stored
notebook has no machine's paths, no timings, no widget state, and execution counts from 1 on; running it twice gives the
same bytes. A notebook that writes to stderr or raises (in a cell without the tag `raises-exception`) is not written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("tags",)
"""What may stay of a cell's metadata."""


def notebooks() -> list[Path]:
    """Every notebook of the course."""
    return sorted(path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook after a run from top to bottom in a fresh kernel of this Python, whatever kernels are installed."""
    kernel = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
    folders = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, km=kernel, timeout=120, coalesce_streams=True, resources=folders)
    with TemporaryDirectory() as home:  # progress is kept there, and not where a learner's is
        return client.execute(cleanup_kc=True, env={**os.environ, "ETLKIT_HOME": home})


def normalised(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what changes by chance; its sources and outputs stay."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({name: cell.metadata[name] for name in KEPT if name in cell.metadata})
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    return notebook


def faults(notebook: NotebookNode) -> list[str]:
    """What must not be stored: errors, stderr, and this machine's paths."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", ()):
                found.append(f"cell {cell.id} raises {output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                found.append(f"cell {cell.id} writes to stderr: {output.text.strip()}")
            for path in (str(ROOT), str(Path.home()), sys.prefix, "/tmp/", "site-packages"):
                if path in str(_texts(output)):
                    found.append(f"cell {cell.id} shows the path {path}")
    return found


def _texts(output: NotebookNode) -> NotebookNode | str | list[str]:
    """The parts of an output that are text."""
    data = output.get("data")
    return [value for kind, value in data.items() if not kind.startswith("image/p")] if data else output.get("text", "")


def text(notebook: NotebookNode) -> str:
    """The file's content."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main(names: list[str]) -> int:
    """Run and rewrite the notebooks named, or all; 1 if one is at fault."""
    failed = False
    for path in [Path(name).resolve() for name in names] or notebooks():
        notebook = normalised(executed(nbformat.read(path, as_version=4), path.parent))
        if found := faults(notebook):
            failed = True
            print(f"{path.name}: not written", *found, sep="\n  ")
        else:
            path.write_text(text(notebook), encoding="utf-8")
            print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells run")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
