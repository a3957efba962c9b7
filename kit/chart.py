"""Charts for the notebooks: a picture and, beside it, the same in words."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

from kit.record import Record

# In this order they differ in shape, and in how dark they are.
_MARKERS = ("o", "s", "^", "D", "v")
_COLOURS = ("#12355b", "#c0392b", "#2f8f6b", "#8e6bbf", "#b08900")


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
    words = (
        f"{title}: from {scales[0]:.0f} at the first of {len(scales)} steps to {scales[-1]:.0f} at the last, "
        f"at most {max(scales):.0f}; it fell {len(skipped)} time{'s' * (len(skipped) != 1)}, "
        "and each time that step was skipped."
    )
    return _drawn(figure, words)


def speed(bench: Any) -> Chart:
    """How many times as fast as the baseline each contender of a benchmark is: a panel for each, a line for each
    operation, a mark for each number of rows, full forward and hollow with the gradient; geometric means."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    others = [name for name in bench.timed if name != bench.baseline]
    operations = list(dict.fromkeys(row.case.operation for row in bench.rows))
    sizes = sorted({row.case.rows for row in bench.rows})
    figure = Figure(figsize=(7, 1.5 + 0.36 * len(operations)), layout="constrained")
    panels = figure.subplots(1, max(1, len(others)), sharex=True, sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, others):
        for at, (size, backward) in enumerate(itertools.product(sizes, (False, True))):
            marker, colour = _MARKERS[at // 2 % len(_MARKERS)], _COLOURS[at // 2 % len(_COLOURS)]
            shift = (at - len(sizes) + 0.5) * 0.8 / (2 * len(sizes))
            lines = [(line, bench.mean(name, backward, o, size)) for line, o in enumerate(operations)]
            panel.plot(
                [mean for _, mean in lines if mean],
                [line + shift for line, mean in lines if mean],
                marker,
                color=colour,
                markersize=5,
                markerfacecolor="white" if backward else colour,
                label=f"{size:,} rows" + (", with gradient" if backward else ""),
            )
        panel.axvline(1, color="black", linewidth=1)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set(title=name, xlabel=f"times as fast as {bench.baseline}")
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(operations)), operations)
    panels[0].set_ylim(len(operations) - 0.5, -0.5)
    if others:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    said = [
        f"{name} {mean:.2g} times as fast {'with gradient' if backward else 'forward'}"
        for name, backward in itertools.product(others, (False, True))
        if (mean := bench.mean(name, backward))
    ]
    title = f"Speed relative to {bench.baseline} on {bench.device}, by operation and number of rows"
    return _drawn(figure, f"{title}; geometric means of all: {', '.join(said) or 'nothing was timed'}.")


def roofline(bench: Any) -> Chart:
    """The fraction of a copy's bandwidth that each contender reaches in each case, over the bytes that must move."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    said = []
    for number, name in enumerate(bench.timed):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [
            (row.bytes, r.fraction) for row in bench.rows for r in row.results if r.contender == name and r.fraction
        ]
        if not points:
            continue
        axes.plot(
            *zip(*points),
            _MARKERS[number % len(_MARKERS)],
            color=colour,
            markersize=5,
            markerfacecolor=colour if number % 2 else "white",
            alpha=0.8,
            label=name,
        )
        said.append(f"{name} up to {max(fraction for _, fraction in points):.0%}")
    axes.axhline(1, color="black", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="bytes that must move", ylabel="fraction of a copy's bandwidth")
    axes.set_title(f"{bench.device}: a copy moves {bench.bandwidth / 1e9:.3g} GB/s", fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    title = f"Fraction of a copy's bandwidth on {bench.device}, over the bytes that each case must move"
    return _drawn(figure, f"{title}: {', '.join(said) or 'nothing was timed'}.")


def _drawn(figure: Any, words: str) -> Chart:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, facecolor="white")  # readable in the dark theme too
    return Chart(picture.getvalue(), words)
