"""The one exception for a person: what was seen and what to do, in one line."""


class KitError(Exception):
    """The input or the arguments cannot be used.  The command line prints the line and exits with status 2; a
    notebook shows the line and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
