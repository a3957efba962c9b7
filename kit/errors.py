"""The one exception that a user's input can cause."""


class KitError(Exception):
    """The input or the arguments cannot be used.  The message is one line: what was seen, what to do."""
