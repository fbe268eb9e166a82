"""The extension, really installed into a folder of its own, and lines that use it."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent
LINE = [
    *(
        "calib=capitals",
        "calib.num_samples=2",
        "data=local",
        f"data.root={SOURCE / 'rows'}",
        "eval=quick",
        "eval.perplexity=[]",
    ),
    *("eval.tasks=[capitals]", "eval.limit=2", "tracker=none"),
]
"""A cell calibrated on the extension's set and scored on it."""


def install(folder: Path) -> dict[str, str]:
    """Install the extension into `folder`; return the environment of a line that finds it and its options."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(SOURCE)], check=True, capture_output=True)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "PRUNE_CONFIG_DIR": str(SOURCE / "conf")}
