"""Panels for notebooks, thin over the verbs: what the doctor finds, a repair, the choice of a wheel, a pasted text.

    doctor(findings)         the findings, one open at a time, and from there the repair
    repair(plan)             the steps with a box each, dry run, repair, cancel, undo
    wheels(facts, packages)  which wheel fits which torch, CUDA, Python and GPU
    anew(restart)            a button that restarts the kernel
    explain(text, facts)     a place to paste a text, and what it says went wrong

Each is a widget that carries its complete text/plain for wherever widgets are not shown.  Needs ipywidgets.
"""

from kit.widgets.answers import anew, doctor, explain, wheels
from kit.widgets.panel import Panel
from kit.widgets.repairing import repair

__all__ = ["Panel", "anew", "doctor", "explain", "repair", "wheels"]
