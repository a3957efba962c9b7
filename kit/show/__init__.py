"""How results look: complete plain text for terminals, logs and screen readers, and the only HTML of the kit.

HTML uses semantic tags, inline style and ``currentColor``, and never colour alone, so that it reads the same in
light, dark, untrusted and printed notebooks.  The text carries every word of it.
"""

import importlib
from typing import Any

from kit.show.parts import duration

# The file with the two views of a result, by the name of its class: the doctor loads nothing that a repair needs.
_VIEWS = {
    "Agreement": ("facts", "agreement"),
    "Bench": ("benchmark", "bench"),
    "Chart": ("benchmark", "chart"),
    "Checked": ("recipes", "checked"),
    "Comparison": ("benchmark", "comparison"),
    "Diff": ("mended", "diff"),
    "Explanation": ("explanation", "explanation"),
    "Facts": ("facts", "facts"),
    "Findings": ("findings", "findings"),
    "Fixed": ("mended", "fixed"),
    "Nodes": ("nodes", "nodes"),
    "Plan": ("repair", "plan"),
    "Receipt": ("repair", "receipt"),
    "Shims": ("repair", "shims"),
    "Texts": ("mended", "texts"),
    "Verification": ("repair", "verification"),
    "Wheels": ("wheels", "wheels"),
    "Written": ("mended", "written"),
    "XRay": ("files", "xray"),
}


def text(thing: Any) -> str:
    """The complete plain text of a result."""
    return _view(thing, "text")


def html(thing: Any) -> str:
    """The same as HTML for a notebook."""
    return _view(thing, "html")


def mimebundle(thing: Any) -> dict[str, str]:
    """What Jupyter shows: both forms."""
    return {"text/plain": text(thing), "text/html": html(thing)}


def _view(thing: Any, form: str) -> str:
    file, name = _VIEWS[type(thing).__name__]
    shown: str = getattr(importlib.import_module(f"{__name__}.{file}"), f"{name}_{form}")(thing)
    return shown


def tick_text(tick: Any) -> str:
    """How far a repair is: ``'[1/2] downloading torch 312 of 740 MB, 0:42 of about 1:10'``."""
    parts = [f"[{tick.step}/{tick.steps}] {tick.what} {tick.detail}".rstrip()]
    if tick.done is not None:
        scale, unit = (1e6, " MB") if tick.unit == "bytes" else (1, f" {tick.unit}".rstrip())
        done = f"{tick.done / scale:.0f}"
        parts.append(f"{done} of {tick.total / scale:.0f}{unit}" if tick.total else f"{done}{unit}")
    clock = f"{int(tick.elapsed) // 60}:{int(tick.elapsed) % 60:02}"
    usual = f" of about {duration(round(tick.usual))}" if tick.usual else ""
    return ", ".join([*parts, clock + usual])
