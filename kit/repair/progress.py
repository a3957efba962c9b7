"""How far a repair is, in a notebook: one line that is replaced again and again."""

from typing import Any, Callable

from kit import show


def progress() -> Callable[[Any], None]:
    """What ``kit.apply(progress=...)`` is to call.  Where no notebook shows it, it keeps silent."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return lambda tick: None
    shell = get_ipython()
    show_line: Any = display
    handle = show_line({"text/plain": ""}, raw=True, display_id=True) if hasattr(shell, "kernel") else None

    def tell(tick: Any) -> None:
        if handle is not None:
            handle.update({"text/plain": show.tick_text(tick)}, raw=True)

    return tell
