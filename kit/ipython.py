"""What ``%load_ext kit`` brings into a notebook: the line magic ``%kit``."""

import shlex
from typing import Any

from kit import shims
from kit.errors import KitError

_HELP = "%kit shim list, %kit shim enable NAME [--cover], %kit shim disable NAME"


def kit(line: str) -> Any:
    """Switch replacements on and off in this kernel: ``%kit shim enable torch_scatter``."""
    words = shlex.split(line)
    if words == ["shim", "list"]:
        return shims.shims()
    if len(words) >= 3 and words[:2] == ["shim", "enable"] and words[3:] in ([], ["--cover"]):
        shims.enable(words[2], cover=bool(words[3:]))
        return shims.shims(words[2])
    if len(words) == 3 and words[:2] == ["shim", "disable"]:
        shims.disable(words[2])
        return shims.shims(words[2])
    raise KitError(f"%kit {line}: not understood; there are {_HELP}")


def load(shell: Any) -> None:
    shell.register_magic_function(kit, "line", "kit")


def unload(shell: Any) -> None:
    shell.magics_manager.magics["line"].pop("kit", None)
