"""A picture of the cluster for a notebook: each node a mark, by the group that it is in."""

import io
import math

from kit.chart import Chart
from kit.nodes.records import Nodes
from kit.show.nodes_words import letter, some

# In this order they differ in shape, and in how dark they are; the first, of most nodes, is the quietest.
_MARKS = (("o", "#9fb8d0"), ("s", "#12355b"), ("^", "#c0392b"), ("D", "#2f8f6b"), ("v", "#8e6bbf"), ("P", "#b08900"))
_OTHER = ("*", "#7a3e1d")  # of the groups after these
_SILENT = ("x", "#c0392b")


def groups(nodes: Nodes) -> Chart:
    """Every node in the order of its name, line by line; the mark says its group, a cross that it gave no facts."""
    from matplotlib.figure import Figure

    order = {name: at for at, name in enumerate(nodes.names)}
    across = 10 * max(1, math.ceil(math.sqrt(4 * len(order)) / 10))
    lines = math.ceil(max(1, len(order)) / across)
    figure = Figure(figsize=(7, 1.2 + 7 / across * lines), layout="constrained")
    axes = figure.subplots()
    size = max(1.5, min(9.0, 300 / across))
    answered: set[str] = set()
    for number, group in enumerate(nodes.groups):
        answered.update(group.nodes)
        label = f"{letter(number)}: {len(group.nodes):,}" if number < len(_MARKS) else ""
        mark, colour = _MARKS[number] if number < len(_MARKS) else _OTHER
        if number == len(_MARKS):
            label = f"others: {sum(len(g.nodes) for g in nodes.groups[number:]):,}"
        at = [order[node] for node in group.nodes]
        axes.plot(
            [a % across for a in at],
            [a // across for a in at],
            mark,
            color=colour,
            markersize=size,
            label=label or None,
        )
    without = [order[node] for node in order if node not in answered]
    if without:
        mark, colour = _SILENT
        x, y = [a % across for a in without], [a // across for a in without]
        axes.plot(x, y, mark, color=colour, markersize=size, markeredgewidth=2, label=f"no facts: {len(without):,}")
    first = list(order)[::across]
    axes.set_yticks(range(lines)[:: max(1, lines // 12)], first[:: max(1, lines // 12)], fontsize=7)
    axes.set(xlim=(-0.7, across - 0.3), ylim=(lines - 0.3, -0.7), xticks=[], aspect="equal")
    axes.set_title(f"{len(order):,} nodes, by group", fontsize=10)
    for side in axes.spines.values():
        side.set_visible(False)
    if order:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, facecolor="white")  # readable in the dark theme too
    return Chart(picture.getvalue(), _words(nodes, len(without)))


def _words(nodes: Nodes, without: int) -> str:
    said = []
    for number, group in enumerate(nodes.groups[: len(_MARKS)]):
        said.append(f"{letter(number)} {len(group.nodes):,} ({some(group.nodes)})")
    rest = sum(len(group.nodes) for group in nodes.groups[len(_MARKS) :])
    said += [f"other groups {rest:,}"] if rest else []
    said += [f"no facts {without:,}"] if without else []
    return f"The {len(nodes.names):,} nodes in the order of their names, by group: {'; '.join(said) or 'none'}."
