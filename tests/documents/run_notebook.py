"""Runs every cell of the notebooks in docs/notebook, as Jupyter would, and keeps what came of it.

    run_notebook.py OUTPUT_DIRECTORY

TIDEGATE_BIN is where the binaries are. A notebook is committed without outputs.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from blocks import ROOT

PATIENCE = 300


def main(output):
    output.mkdir(parents=True, exist_ok=True)
    # What a notebook leaves in the temporary folder goes with this.
    with tempfile.TemporaryDirectory(prefix="notebook-") as held:
        os.environ.update(TIDEGATE_ROOT=str(ROOT), TMPDIR=held)
        return sum(not succeeds(page, output) for page in sorted((ROOT / "docs/notebook").glob("*.ipynb")))


def succeeds(page, output):
    began = time.monotonic()
    notebook = nbformat.read(page, as_version=4)
    if any(cell.get("outputs") for cell in notebook.cells):
        print(f"{page.name} is committed with outputs: clear them", file=sys.stderr)
        return False
    os.environ["TIDEGATE_PICTURE"] = str(output / f"{page.stem}.png")
    client = NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(ROOT)}})
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"{page.name}: {error}", file=sys.stderr)
        end_service(notebook)
        return False
    finally:
        nbformat.write(notebook, output / page.name)
    print(f"{page.name}: {len(notebook.cells)} cells in {time.monotonic() - began:.0f} s, kept in {output}")
    return True


def end_service(notebook):
    """A cell that failed has not stopped what an earlier one started: it prints its process group."""
    for cell in notebook.cells:
        for out in cell.get("outputs", []):
            for line in out.get("text", "").splitlines():
                if line.startswith("process group "):
                    try:
                        os.killpg(int(line.split()[-1]), signal.SIGINT)
                    except ProcessLookupError:
                        pass


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
