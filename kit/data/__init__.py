"""Dated tables, each row with its source; they serve only where nothing can be read."""

import json
import os
from functools import cache
from typing import Any


@cache
def table(name: str) -> Any:
    """The table ``name`` of this folder, e.g. ``table("gpus")``."""
    with open(os.path.join(os.path.dirname(__file__), name + ".json"), encoding="utf-8") as stream:
        return json.load(stream)
