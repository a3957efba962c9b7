"""Offers an environment to Jupyter: a kernel specification in this user's Jupyter folder."""

import json
import os
import re
import sys


def register(python: str, name: str) -> str:
    """Write the kernel specification for ``python`` into this user's Jupyter folder; returns the kernel's name."""
    base = re.sub(r"[^a-z0-9._-]", "-", name.lower()) or "twin"
    kernels = os.path.join(_jupyter(), "kernels")
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, 1000))
    kernel = next(one for one in names if not os.path.lexists(os.path.join(kernels, one)))
    os.makedirs(os.path.join(kernels, kernel))
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    with open(os.path.join(kernels, kernel, "kernel.json"), "w", encoding="utf-8") as stream:
        json.dump({"argv": argv, "display_name": f"Python ({name})", "language": "python"}, stream, indent=1)
    return kernel


def _jupyter() -> str:
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        usual = os.path.join(home, "Library", "Jupyter")
    elif sys.platform == "win32":
        usual = os.path.join(os.environ.get("APPDATA", home), "jupyter")
    else:
        usual = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share"), "jupyter")
    return os.environ.get("JUPYTER_DATA_DIR") or usual
