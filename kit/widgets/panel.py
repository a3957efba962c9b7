"""What every panel has: its text beside the widget, buttons that say what they do, and errors shown in place."""

import functools
import traceback
from collections.abc import Sequence
from typing import Any, Callable

from ipywidgets import HTML, Box, Button, VBox

from kit.collect import redactor
from kit.errors import KitError
from kit.show import panels


class Panel(VBox):  # type: ignore[misc]
    """A widget whose text/plain is complete.  All state is in the instance: several panels do not meet.

    ``problem`` is where errors are shown; among the children None stands for it.
    """

    def __init__(self, *children: Any) -> None:
        self.problem, self.wrong = HTML(), ""
        parts = [self.problem if child is None else child for child in children]
        super().__init__(parts, layout={"width": "100%"})

    def told(self) -> str:
        """What the panel shows, errors aside, and the command that does the same."""
        raise NotImplementedError

    def text(self) -> str:
        """All that the panel shows."""
        return self.told() + (f"\n\nError: {self.wrong}" if self.wrong else "")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": self.text()} if bundle else bundle


def shown(method: Callable[..., None]) -> Callable[..., None]:
    """Have a callback show its error in the panel: Jupyter would show nothing at all.  The panel stays usable."""

    @functools.wraps(method)
    def called(panel: Any, *arguments: Any) -> None:
        try:
            panel.problem.value = panel.wrong = ""
            method(panel, *arguments)
        except KitError as error:
            panel.wrong = str(error)
            panel.problem.value = panels.error(panel.wrong)
        except Exception as error:  # the border of a callback, behind which nobody would see it
            panel.wrong = traceback.format_exception_only(type(error), error)[-1].strip()
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            panel.problem.value = panels.error(panel.wrong, redactor()(trace))

    return called


def button(description: str, tooltip: str, clicked: Callable[[], None], style: str = "") -> Any:
    """A button that is as wide as its words."""
    made = Button(description=description, tooltip=tooltip, button_style=style, layout={"width": "auto"})
    made.on_click(lambda _: clicked())
    return made


def row(*children: Any) -> Any:
    """Side by side, and below each other where there is no room."""
    return Box(children, layout={"display": "flex", "flex_flow": "row wrap", "width": "100%"})


def command(words: str, python: str = "", rest: Sequence[str] = ()) -> str:
    """The line of a panel's text that says how the command line does the same."""
    return " ".join(["The same on the command line: python -m kit", words + python, *rest])
