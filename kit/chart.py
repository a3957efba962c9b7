"""Charts for the notebooks: a picture and, beside it, the same in words."""

import io
from collections.abc import Sequence
from typing import Any

from kit.record import Record


class Chart(Record):
    """A picture (PNG) and what it shows, for those who do not see it and where there are no pictures."""

    png: bytes
    words: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def loss_scale(scales: Sequence[float], title: str = "The loss scale, step by step") -> Chart:
    """The loss scale after each training step, on a logarithmic axis; where it fell, the step was skipped."""
    from matplotlib.figure import Figure

    skipped = [step for step in range(1, len(scales)) if scales[step] < scales[step - 1]]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.step(range(1, len(scales) + 1), scales, where="post", color="#2f6fb0", label="loss scale")
    axes.plot([s + 1 for s in skipped], [scales[s] for s in skipped], "v", color="#c0392b", label="step skipped")
    axes.set_yscale("log", base=2)
    axes.set(xlabel="training step", ylabel="loss scale", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    words = (
        f"{title}: from {scales[0]:.0f} at the first of {len(scales)} steps to {scales[-1]:.0f} at the last, "
        f"at most {max(scales):.0f}; it fell {len(skipped)} time{'s' * (len(skipped) != 1)}, "
        "and each time that step was skipped."
    )
    return Chart(picture.getvalue(), words)
