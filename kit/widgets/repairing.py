"""The panel of a repair: steps with a box each, dry run, progress, cancel, undo, log, and what the kernel needs then.

The repair runs in a thread of its own, so that the notebook stays usable; the thread ends when the kernel does.
"""

import os
import sys
import threading
import time
from typing import Any, Callable, Optional

from ipywidgets import HTML, Checkbox

import kit
from kit import show
from kit.errors import KitError
from kit.findings import quote
from kit.repair import Interrupted, Receipt, Tick, free
from kit.repair.choice import chosen, groups
from kit.repair.plan import Plan
from kit.show import panels
from kit.widgets import kernel
from kit.widgets.panel import Panel, button, command, row, shown

_EVERY = 0.25  # seconds between two lines of progress
_TAIL = 20_000  # bytes of the log that are shown
_OTHER = "This plan is of another machine, or of a recorded one: it can be read here, not carried out."
_CANCELLED = "cancelled"

Restart = Callable[[Optional[Receipt]], str]
# Said before, as nothing that this kernel says after it is shown.
RESTARTS = "The kernel restarts. Then run %load_ext kit and %kit, which go on from here."


def repair(plan: Plan, *, retry: Optional[str] = None, restart: Optional[Restart] = None) -> Panel:
    """The panel of a plan.  ``retry`` is a module whose import failed, which is imported again after a repair that
    needs no restart; ``restart`` is given the receipt, restarts the kernel and returns a sentence."""
    return _Repair(plan, retry, restart)


class _Repair(Panel):
    def __init__(self, plan: Plan, retry: Optional[str], restart: Optional[Restart]) -> None:
        self.plan, self.retry, self.restart = plan, retry, restart
        self.live = plan.facts.about.source == "collected"
        self.python = os.path.expanduser(plan.facts.python.executable)
        self.receipt: Optional[Receipt] = None
        self.interrupted = False
        self.thread: Optional[threading.Thread] = None
        self.cancelling = False
        self.ticked = (0.0, "")  # when progress was last shown, and of what
        self.log_file = ""
        self.said: list[str] = []  # what stands below the buttons, as text
        self.boxes: dict[tuple[int, ...], Any] = {}
        self.states = [HTML(panels.line("", indent=True)) for _ in plan.steps]
        steps: list[Any] = []
        for group in groups(plan):
            self.boxes[group] = Checkbox(True, description=_label(group), indent=False, layout={"width": "auto"})
            steps.append(self.boxes[group])
            for number in group:
                steps += [HTML(panels.step_of_html(plan.steps[number])), self.states[number]]
        self.dry = button("Dry run", "Show what would be done, and change nothing", self.on_dry_run)
        self.go = button("Repair", "Do the steps whose boxes are checked", self.on_repair, "primary")
        self.stop = button("Cancel", "Stop, and take back what was changed", self.on_cancel)
        self.back = button("Undo", "Bring back what the repair changed", self.on_undo)
        self.anew = button("Restart kernel", "Variables are lost, files are kept", self.on_restart, "primary")
        self.anew.layout.display = "none"
        self.show_log = button("Show the log", "What pip says", self.on_log)
        self.status, self.outcome, self.record = HTML(panels.line("")), HTML(), HTML(layout={"display": "none"})
        buttons = row(self.dry, self.go, self.stop, self.back, self.anew, self.show_log)
        parts = [HTML(panels.plan_html(plan)), *steps, HTML(panels.rest_html(plan))]
        super().__init__(*parts, buttons, self.status, None, self.outcome, self.record)
        self.look()
        self.idle()

    # -- what is shown

    def told(self) -> str:
        own = self.python == sys.executable
        same = command("repair", "" if own else f" --python {quote(self.plan.facts.python.executable)}")
        return "\n\n".join([show.text(self.plan), *self.said, same if self.live else _OTHER])

    def say(self, words: str) -> None:
        self.status.value = panels.line(words, live=True)

    def result(self, *things: Any) -> None:
        """Show results, and sentences between them."""
        words = [thing for thing in things if thing]
        self.said = [thing if isinstance(thing, str) else show.text(thing) for thing in words]
        views = [panels.line(thing, bold=True) if isinstance(thing, str) else show.html(thing) for thing in words]
        self.outcome.value = panels.flowing("".join(views))

    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive() and self.thread is not threading.current_thread()

    def idle(self) -> None:
        """Enable what can be done now."""
        applied = self.receipt is not None and self.receipt.state == "applied"
        begin = self.live and bool(self.plan.steps) and not applied and not self.interrupted
        self.go.disabled, self.dry.disabled, self.stop.disabled = not begin, not self.plan.steps, True
        self.back.disabled = not applied and not self.interrupted
        for box in self.boxes.values():
            box.disabled = applied

    # -- what the buttons do

    @shown
    def look(self) -> None:
        """See whether a repair can begin: none is under way in another process, none was interrupted."""
        if not self.live:
            self.say(_OTHER)
            return
        try:
            free(self.python)
        except Interrupted:
            self.interrupted = True
            raise

    @shown
    def on_dry_run(self) -> None:
        plan = self.wanted()
        if self.live:
            kit.apply(plan, lambda plan: False)
        self.result("Dry run. These steps would be done:", plan)

    @shown
    def on_repair(self) -> None:
        plan = self.wanted()
        self.begin(lambda: self.carry_out(plan), "Looking at the environment")

    @shown
    def on_cancel(self) -> None:
        self.cancelling = True
        self.stop.disabled = True
        self.say("Cancelling: what was changed is taken back.")

    @shown
    def on_undo(self) -> None:
        self.begin(self.take_back, "Undoing")

    @shown
    def on_restart(self) -> None:
        if self.restart is not None:
            self.say(RESTARTS)
            self.say(self.restart(self.receipt))

    @shown
    def on_log(self) -> None:
        hidden = self.record.layout.display == "none"
        self.record.layout.display = "" if hidden else "none"
        self.show_log.description = "Hide the log" if hidden else "Show the log"
        self.read_log()

    def wanted(self) -> Plan:
        numbers = [number for group, box in self.boxes.items() if box.value for number in group]
        if not numbers:
            raise KitError("no step is checked: check at least one")
        return chosen(self.plan, numbers)

    # -- in the thread

    def begin(self, work: Callable[[], None], words: str) -> None:
        if self.busy():
            return
        for one in (self.dry, self.go, self.back, *self.boxes.values()):
            one.disabled = True
        self.anew.layout.display = "none"
        self.cancelling = False
        self.result()
        self.say(words)
        self.thread = threading.Thread(target=self.work, args=(work,), name="kit-repair")
        self.thread.start()

    def work(self, work: Callable[[], None]) -> None:
        try:
            self.done(work)
        finally:
            self.idle()

    @shown
    def done(self, work: Callable[[], None]) -> None:
        try:
            work()
        except KitError:
            self.say("")
            self.interrupted = self.found_interrupted()
            raise

    def carry_out(self, plan: Plan) -> None:
        rows = [self.states[self.plan.steps.index(step)] for step in plan.steps]
        for state in self.states:
            state.value = panels.line("waiting" if state in rows else "not chosen", indent=True)
        self.stop.disabled = False
        receipt = kit.apply(plan, lambda plan: True, lambda tick: self.progress(tick, rows))
        self.receipt = receipt
        self.interrupted = receipt.state == "interrupted"
        for number, state in enumerate(rows, 1):
            words = (
                "done" if receipt.state == "applied" else "taken back" if number <= len(receipt.steps) else "not done"
            )
            state.value = panels.line(words, indent=True)
        self.after(receipt)

    def take_back(self) -> None:
        receipt = kit.undo(self.receipt if self.receipt and self.receipt.path else None, self.python)
        self.receipt, self.interrupted = receipt, False
        for state in self.states:
            state.value = panels.line("", indent=True)
        self.after(receipt)

    def after(self, receipt: Receipt) -> None:
        """Show what came of it, and what this kernel needs now."""
        self.stop.disabled = True
        self.result(receipt, receipt.verification)
        self.read_log()
        changed = receipt.state in ("applied", "undone") and self.python == sys.executable
        self.say("Looking at this kernel" if changed else "")
        replaced = [step.package for step in receipt.steps if step.package and step.kind != "uninstall-package"]
        why, said = kernel.stale(replaced) if changed else "", ""
        needed = bool(why)
        if changed and not why and self.retry and receipt.state == "applied":
            needed, said = kernel.imported(self.retry, self.say)
        if needed:
            self.anew.layout.display = "" if self.restart else "none"
            said += f" {why} " if why else " "
            said += "Restart the kernel." if self.restart else "Restart the kernel: menu Kernel, Restart Kernel."
        self.result(receipt, receipt.verification, said.strip())
        self.say("Done." if receipt.state == "applied" else "")

    def progress(self, tick: Tick, rows: list[Any]) -> None:
        """Called by the repair several times a second; raising takes it back."""
        ending = not threading.main_thread().is_alive()
        if (self.cancelling or ending) and tick.what != "undoing":
            raise KitError(_CANCELLED if self.cancelling else "the kernel was ended")
        now = time.monotonic()
        if tick.what == self.ticked[1] and now - self.ticked[0] < _EVERY:
            return
        self.ticked, self.log_file = (now, tick.what), tick.log or self.log_file
        words = show.tick_text(tick)
        if tick.what in ("verifying", "undoing"):
            self.stop.disabled = self.cancelling or tick.what == "undoing"
            for state in rows[: tick.step] if tick.what == "verifying" else ():
                state.value = panels.line("done", indent=True)
            self.say(words)
        else:
            for state in rows[: tick.step - 1]:
                state.value = panels.line("done", indent=True)
            rows[tick.step - 1].value = panels.line(words, indent=True)
            self.say("Repairing")
        self.read_log()

    def found_interrupted(self) -> bool:
        try:
            free(self.python)
        except Interrupted:
            return True
        except KitError:
            pass
        return False

    def read_log(self) -> None:
        if self.record.layout.display == "none":
            return
        file = self.receipt.log if self.receipt and self.receipt.path else self.log_file
        text = ""
        if file and os.path.isfile(file):
            with open(file, "rb") as stream:
                stream.seek(max(0, os.path.getsize(file) - _TAIL))
                text = stream.read().decode("utf-8", "replace")
        self.record.value = panels.log(text)


def _label(group: tuple[int, ...]) -> str:
    if len(group) == 1:
        return f"Step {group[0] + 1}"
    *first, last = (str(number + 1) for number in group)
    return f"Steps {', '.join(first)} and {last}, which belong together"
