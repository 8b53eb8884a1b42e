"""Run a notebook in this interpreter, and keep what it prints and draws in the file.

    cd results/demo && ../../.venv/bin/python ../../tools/run_notebook.py ../../docs/notebook.ipynb

Needs no Jupyter. What a cell prints becomes one output, each figure another.
"""

import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt


def outputs(source: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell in ``namespace``; its outputs, in Jupyter's format."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(source, "cell", "exec"), namespace)
    text = printed.getvalue()
    stream = [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}]
    results = stream if text else []
    for number in plt.get_fignums():
        png = io.BytesIO()
        plt.figure(number).savefig(png, format="png", dpi=80, bbox_inches="tight")
        image = base64.b64encode(png.getvalue()).decode()
        results.append(
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": image}}
        )
    plt.close("all")
    return results


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run one after the other; raises as they do."""
    plt.show = lambda *_, **__: None  # figures are kept until the end of their cell
    namespace: dict[str, Any] = {"__name__": "__main__"}
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, start=1):
        cell["outputs"] = outputs("".join(cell["source"]), namespace)
        cell["execution_count"] = number
    return notebook


if __name__ == "__main__":
    path = Path(sys.argv[1])
    finished = run(json.loads(path.read_text()))
    path.write_text(json.dumps(finished, ensure_ascii=False, indent=1) + "\n")
