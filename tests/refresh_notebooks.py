"""Run all notebooks, or those named, and store outputs as they are committed: ``python tests/refresh_notebooks.py``.

Outputs, counts and ids stay; times, other metadata, the path of this machine's interpreter, and widgets, which are
nothing without their kernel, go.
"""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    for cell in notebook.cells:
        if "widget" in cell.metadata.get("tags", []):
            cell.outputs = []
        elif cell.cell_type == "code" and "nbval-ignore-output" in cell.metadata.get("tags", []):
            stored = json.dumps(cell.outputs).replace(sys.executable, "/opt/venv/bin/python")
            cell.outputs = [nbformat.from_dict(output) for output in json.loads(stored)]
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    paths = [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in paths:
        refresh(path)
    strip = ["--keep-output", "--keep-count", "--keep-id", *map(str, paths)]
    subprocess.run([sys.executable, "-m", "nbstripout", *strip], check=True)
