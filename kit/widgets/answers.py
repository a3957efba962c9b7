"""The panels that ask and answer: what the doctor finds, which wheel fits, and what a pasted text says."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any, Optional

from ipywidgets import HTML, Dropdown, Textarea, VBox

import kit
from kit import show
from kit.data import table
from kit.facts import Facts
from kit.findings import Findings, quote
from kit.gpus import numbers
from kit.repair.plan import unpublished
from kit.show import panels
from kit.widgets.panel import Panel, button, command, row, shown
from kit.widgets.repairing import RESTARTS, Restart, repair

_EMPTY = "Paste a traceback, a log or a warning, and press Explain."
_NAMED = 3  # products of one compute capability


def doctor(findings: Findings, *, retry: Optional[str] = None, restart: Optional[Restart] = None) -> Panel:
    """Findings as a list, one open at a time; ``retry`` and ``restart`` are for the repair that it leads to."""
    return _Doctor(findings, retry, restart)


def wheels(
    facts: Optional[Facts] = None,
    packages: Sequence[str] = ("torch-scatter",),
    *,
    index: Optional[str] = None,
    offline: bool = False,
) -> Panel:
    """Choose torch, CUDA, Python and GPU; below, the wheels that fit, and why the others do not."""
    return _Wheels(kit.collect(probes=False) if facts is None else facts, tuple(packages), index, offline)


def explain(text: str = "", facts: Optional[Facts] = None) -> Panel:
    """A place to paste a text, and below it what went wrong.  With ``facts`` of the environment these decide."""
    return _Explain(text, facts)


def anew(restart: Restart) -> Panel:
    """One button, where only a restart of the kernel helps."""
    return _Anew(restart)


class _Anew(Panel):
    def __init__(self, restart: Restart) -> None:
        self.restart, self.status = restart, HTML(panels.line(""))
        clicked = button("Restart kernel", "Variables are lost, files are kept", self.on_restart, "primary")
        super().__init__(row(clicked), self.status, None)

    def told(self) -> str:
        return "Restart the kernel: menu Kernel, Restart Kernel."

    @shown
    def on_restart(self) -> None:
        self.status.value = panels.line(RESTARTS, live=True)
        self.status.value = panels.line(self.restart(None), live=True)


class _Doctor(Panel):
    def __init__(self, findings: Findings, retry: Optional[str], restart: Optional[Restart]) -> None:
        self.findings, self.retry, self.restart = findings, retry, restart
        self.list, self.status, self.place = HTML(), HTML(panels.line("")), VBox(layout={"width": "100%"})
        self.mend = button(
            "Plan the repair", "Show the steps that mend this; nothing is changed", self.on_plan, "primary"
        )
        self.again = button("Look again", "Diagnose this environment anew", self.on_again)
        self.again.disabled = findings.facts.about.source != "collected"
        super().__init__(self.list, row(self.mend, self.again), self.status, None, self.place)
        self.show_list()

    def told(self) -> str:
        facts = self.findings.facts
        here = facts.about.source == "collected"
        same = command("doctor", _python(facts) if here else f" --facts {quote(facts.about.name)}")
        return "\n\n".join([show.text(self.findings), same, *(child.text() for child in self.place.children)])

    def show_list(self) -> None:
        self.list.value = panels.findings_html(self.findings, f"kit-{self.model_id}")
        self.mend.disabled = self.findings.verdict == "healthy"

    @shown
    def on_plan(self) -> None:
        self.status.value = panels.line("Planning: each step is tried on paper", live=True)
        live = self.findings.facts.about.source == "collected"
        try:
            planned = kit.plan(self.findings, refuse=unpublished if live else None)
            self.place.children = [repair(planned, retry=self.retry, restart=self.restart)]
        finally:
            self.status.value = panels.line("")

    @shown
    def on_again(self) -> None:
        self.status.value = panels.line("Looking", live=True)
        facts = self.findings.facts
        python = os.path.expanduser(facts.python.executable)
        wished = next((gpu.capability for gpu in facts.host.gpus if gpu.wished), None)
        try:
            self.findings = kit.doctor(None if python == sys.executable else python, gpu=wished)
            self.show_list()
        finally:
            self.status.value = panels.line("")


class _Wheels(Panel):
    def __init__(self, facts: Facts, packages: tuple[str, ...], index: Optional[str], offline: bool) -> None:
        self.facts, self.packages, self.index, self.offline = facts, packages, index, offline
        self.said = ""
        self.torch = _choice("torch", _torches(facts))
        self.cuda = _choice("CUDA", _builds(facts))
        self.python = _choice("Python", _pythons(facts))
        self.gpu = _choice("GPU", _gpus(facts))
        self.find = button("Find the wheel", "Read the index page, and say which wheel fits", self.on_find, "primary")
        self.status, self.answer = HTML(panels.line("")), HTML()
        choices = row(self.torch, self.cuda, self.python, self.gpu)
        super().__init__(choices, row(self.find), self.status, None, self.answer)
        self.on_find()

    def told(self) -> str:
        options = [f"--torch {self.torch.value}"] if self.torch.value else []
        options += [f"--cuda {self.cuda.value}"] if self.cuda.value else []
        options += [f"--index {quote(self.index)}"] if self.index else []
        options += ["--offline"] if self.offline else []
        place = _python(self.facts)
        if self.facts.about.source != "collected":
            place = f" --facts {quote(self.facts.about.name)}"
        same = command(f"wheel {' '.join(map(quote, self.packages))}", place, options)
        asked = self.python.value or self.gpu.value
        note = "\nFor another Python or GPU it takes a facts file of that machine: --facts FILE." if asked else ""
        return f"{self.said}\n\n{same}{note}"

    def wanted(self) -> Facts:
        """The facts, with the Python and the GPU that were chosen."""
        facts, minor = self.facts, self.python.value
        if minor:
            abi = "cp" + minor.replace(".", "")
            python = dataclasses.replace(facts.python, version=f"{minor}.0", abi=abi, implementation="cpython")
            facts = dataclasses.replace(facts, python=python)
        return facts.with_gpu(self.gpu.value) if self.gpu.value else facts

    @shown
    def on_find(self) -> None:
        self.status.value = panels.line("Reading the page", live=True)
        found = None
        try:
            found = kit.wheel(
                self.packages, self.wanted(), self.torch.value, self.cuda.value, self.index, offline=self.offline
            )
        finally:
            self.said = show.text(found) if found else "no answer"
            self.answer.value = panels.flowing(show.html(found)) if found else ""
            self.status.value = panels.line("")


class _Explain(Panel):
    def __init__(self, text: str, facts: Optional[Facts]) -> None:
        self.facts = facts
        self.said = _EMPTY
        hint = "Paste all of it, from the command to the last line. It stays on this machine."
        self.area = Textarea(
            text,
            description="What was printed",
            placeholder=hint,
            rows=8,
            style={"description_width": "initial"},
            # The area has the width of its layout; its label stands above it.
            layout={
                "width": "98%",
                "max_width": "52em",
                "height": "auto",
                "flex_flow": "column",
                "align_items": "flex-start",
            },
        )
        self.button = button("Explain", "Say what went wrong in this text", self.on_explain, "primary")
        self.answer = HTML()
        super().__init__(self.area, row(self.button), None, self.answer)
        if text.strip():
            self.on_explain()

    def told(self) -> str:
        facts = self.facts
        place = "" if facts is None else _python(facts) or f" --python {quote(facts.python.executable)}"
        if facts is not None and facts.about.source != "collected":
            place = f" --facts {quote(facts.about.name)}"
        return f"{self.said}\n\n{command('explain FILE', place)}"

    @shown
    def on_explain(self) -> None:
        found = None
        try:
            if self.area.value.strip():
                found = kit.explain(self.area.value, self.facts)
        finally:
            self.said = show.text(found) if found else _EMPTY
            self.answer.value = panels.flowing(show.html(found)) if found else panels.line("")
        if not found:
            self.answer.value = panels.line("Nothing was pasted yet: paste the text first.", live=True)


def _python(facts: Facts) -> str:
    python = facts.python.executable
    return "" if os.path.expanduser(python) == sys.executable else f" --python {quote(python)}"


def _choice(name: str, options: Sequence[tuple[str, Optional[str]]]) -> Any:
    layout = {"width": "auto", "max_width": "100%", "margin": "2px 16px 2px 2px"}
    return Dropdown(options=options, description=name, style={"description_width": "initial"}, layout=layout)


def _torches(facts: Facts) -> list[tuple[str, Optional[str]]]:
    here = f"{facts.torch.version}, as installed" if facts.torch else "the one that serves this machine"
    return [(here, None), *((row["minor"], row["minor"]) for row in reversed(table("torch_builds")["torch"]))]


def _builds(facts: Facts) -> list[tuple[str, Optional[str]]]:
    tokens = {token for row in table("torch_builds")["torch"] for token in row["cuda"]}
    newest = sorted(tokens, key=lambda token: int(token[2:]), reverse=True)
    return [("as that torch has it", None), *((token, token) for token in (*newest, "cpu"))]


def _pythons(facts: Facts) -> list[tuple[str, Optional[str]]]:
    minors = [f"3.{minor}" for minor in range(14, 8, -1)]
    return [(f"{facts.python.version}, as here", None), *((minor, minor) for minor in minors)]


def _gpus(facts: Facts) -> list[tuple[str, Optional[str]]]:
    here = ", ".join(gpu.name for gpu in facts.host.gpus) or "none"
    names: dict[str, list[str]] = {}
    for one in table("gpus")["gpus"]:
        names.setdefault(one["capability"], []).extend(one["names"])
    newest = sorted(names, key=numbers, reverse=True)
    known = {one: sorted(names[one], key=lambda name: "GeForce" not in name)[:_NAMED] for one in newest}
    return [(f"{here}, as here", None), *((f"{one}: {', '.join(known[one])}", one) for one in newest)]
