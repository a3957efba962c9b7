"""What ``%load_ext kit`` brings into a notebook: ``%kit``, and a card under the traceback of a broken environment."""

import argparse
import dataclasses
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any, Callable, Optional

import kit
from kit import __main__ as command_line
from kit import jupyter, shims, show
from kit.errors import KitError
from kit.explaining import Explanation, explain, load
from kit.facts import Facts
from kit.findings import Findings
from kit.weighing import NOTHING_TO_MEND

SURE = 0.5  # a cause that is less likely gets no card: a wrong one costs more than none
DOUBT = 0.3  # from here on the environment is looked at, which decides
# An index or a demand for memory that is wrong looks like a broken installation where the GPU says it.
_OF_THE_GPU = r"\bcuda|cublas|cudnn|device-side|\bGPU\b|\b[GT]iB\b"
_KEY = "_kit_extension"


class Extension:
    """All that one shell has of the kit; :meth:`unload` takes every bit of it away."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.said = ""  # the traceback of the last cell that failed

    def load(self) -> None:
        self.shell.register_magic_function(self.magic, "line_cell", "kit")
        self.shell.events.register("post_run_cell", self.after)
        for name in ("%kit", "%%kit"):
            self.shell.set_hook("complete_command", self.complete, str_key=name)
        explain("Traceback (most recent call last):")  # loads what it needs, so that the first failure does not wait

    def unload(self) -> None:
        self.shell.events.unregister("post_run_cell", self.after)
        for kind in ("line", "cell"):
            self.shell.magics_manager.magics[kind].pop("kit", None)
        for name in ("%kit", "%%kit"):
            self.shell.strdispatchers["complete_command"].strs.pop(name, None)
        jupyter.forget()

    # -- under a traceback

    def after(self, result: Any = None) -> None:
        """A cell has run: nothing, unless it failed, and then a card if the environment is the cause."""
        error = result and (result.error_before_exec or result.error_in_exec)
        if error is None or isinstance(error, KitError):
            return
        self.said = _traceback(error)
        explanation = explain(self.said)
        if not _likely(explanation, DOUBT):
            return
        if explanation.causes[0].failure in NOTHING_TO_MEND:
            self._quiet(explanation)
            return
        facts = kit.collect()
        explanation = explain(self.said, facts)
        if _likely(explanation) and explanation.causes[0].failure not in NOTHING_TO_MEND:
            self._card(_as_seen(explanation), facts, _imported(error))

    def _quiet(self, explanation: Explanation) -> None:
        """One line, where what a program says points at the environment and it is not that."""
        first = explanation.causes[0]
        if not _likely(explanation) or first.failure != "not-environment":
            return
        if re.search(_OF_THE_GPU, "\n".join(first.evidence), re.IGNORECASE):
            _display({"text/plain": f"kit: not the environment. {first.summary}"}, raw=True)

    def _card(self, explanation: Explanation, facts: Facts, module: Optional[str]) -> None:
        _display(explanation)
        first = explanation.causes[0]
        if first.fix and first.fix[0].kind == "restart-kernel" and _widgets(self.shell):
            from kit import widgets

            _display(widgets.anew(self.restart))
        else:
            self._panel(kit.diagnose(facts), first.failure, module)

    def _panel(self, findings: Findings, only: Optional[str] = None, module: Optional[str] = None) -> None:
        """Buttons that mend it, where they can be shown and there is something that they could do."""
        if only is not None and all(finding.failure != only for finding in findings):
            return
        planned = kit.plan(findings, only)
        if planned.steps and _widgets(self.shell):
            from kit import widgets

            _display(widgets.repair(planned, retry=module, restart=self.restart))

    def restart(self, receipt: Any) -> str:
        """Restart this kernel; the first ``%kit`` after that tells what came of the repair."""
        if receipt is not None:
            jupyter.remember({"text": show.text(receipt), "html": show.html(receipt), "python": sys.executable})
        return jupyter.restart()

    # -- %kit

    def magic(self, line: str, cell: Optional[str] = None) -> Any:
        """The verbs of the kit in a notebook.

        %kit                 what is wrong with this kernel's environment; after a restart: what a repair came to
        %kit explain         the last traceback; %%kit explain with pasted text below it, %kit explain FILE
        %kit repair          mend it: a panel, or --yes; --dry-run shows the steps
        %kit undo            bring back what a repair changed
        %kit verify          run real operators in fresh processes
        %kit shim            list, enable NAME, disable NAME, in this kernel
        %kit wheel PACKAGE   which published wheel fits here
        %kit bench           time torch_scatter; --quick
        %kit recipe check    what a Dockerfile, requirements or imports lead to; --fix, recipe write KIND
        %kit nodes           the same from every node of a cluster
        Every option of `python -m kit VERB --help` works here too.
        """
        words = shlex.split(line)
        said = jupyter.remembered() if not words and cell is None else None
        if said is not None:
            _display({"text/plain": said.get("text", ""), "text/html": said.get("html", "")}, raw=True)
            return kit.verify()
        if cell is not None and words[:1] != ["explain"]:
            raise KitError("%%kit takes text for one verb: %%kit explain, and the text below it")
        arguments = _parsed(words or ["doctor"])
        return None if arguments is None else getattr(self, f"_{arguments.verb}")(arguments, cell)

    def _doctor(self, arguments: Any, cell: Optional[str]) -> Any:
        facts = _facts(arguments)
        findings = command_line.diagnosed(facts or kit.collect(), arguments)
        if facts is None and findings.verdict != "healthy":
            _display(findings)
            self._panel(findings)
            return None
        return findings

    def _collect(self, arguments: Any, cell: Optional[str]) -> Any:
        return kit.collect(arguments.python)

    def _explain(self, arguments: Any, cell: Optional[str]) -> Any:
        facts = _facts(arguments)
        if cell is not None:
            return explain(cell, facts)
        if arguments.file != "-":
            return explain(load(arguments.file), facts)
        error = getattr(sys, "last_value", None)
        said = self.said or (_traceback(error) if error is not None else "")
        if not said:
            raise KitError("no cell has failed since %load_ext kit; paste what went wrong below %%kit explain")
        return explain(said, facts or kit.collect())

    def _repair(self, arguments: Any, cell: Optional[str]) -> Any:
        findings = command_line.diagnosed(kit.collect(arguments.python), arguments)
        planned = kit.plan(findings, arguments.only, arguments.index)
        if not planned.steps or arguments.dry_run:
            return planned
        if arguments.into is not None:
            raise KitError("--into makes an environment, which takes minutes: python -m kit repair, in a terminal")
        if arguments.yes:
            from kit.repair.progress import progress

            return kit.apply(planned, confirm=lambda plan: True, progress=progress())
        if not _widgets(self.shell):
            _display(planned)
            _display({"text/plain": "Nothing is changed yet: %kit repair --yes does these steps"}, raw=True)
            return None
        from kit import widgets

        # A saved notebook shows no panel: this line stays.
        _display({"text/plain": f"{show.text(planned).splitlines()[0]}; %kit repair shows the panel again"}, raw=True)
        return widgets.repair(planned, restart=self.restart)

    def _undo(self, arguments: Any, cell: Optional[str]) -> Any:
        if arguments.discard:
            from kit.repair import discard

            discard(arguments.receipt, arguments.python)
            return None
        return kit.undo(arguments.receipt, arguments.python, arguments.force)

    def _verify(self, arguments: Any, cell: Optional[str]) -> Any:
        return kit.verify(arguments.python, require=arguments.require, gpu=arguments.gpu)

    def _shim(self, arguments: Any, cell: Optional[str]) -> Any:
        if (arguments.action == "list") != (arguments.name is None):
            raise KitError("%kit shim list, or %kit shim enable NAME, %kit shim disable NAME")
        if arguments.python is not None:
            raise KitError("%kit shim is for this kernel; for an environment: python -m kit shim, in a terminal")
        if arguments.action == "enable":
            shims.enable(arguments.name, cover=arguments.cover)
        elif arguments.action == "disable":
            shims.disable(arguments.name)
        return shims.shims() if arguments.name is None else shims.shims(arguments.name)

    def _wheel(self, arguments: Any, cell: Optional[str]) -> Any:
        facts = _facts(arguments) or kit.collect()
        asked = (arguments.torch, arguments.cuda, arguments.index)
        return kit.wheel(arguments.package, facts, *asked, offline=arguments.offline)

    def _xray(self, arguments: Any, cell: Optional[str]) -> Any:
        return kit.xray(arguments.path, against=arguments.against, gpu=arguments.gpu)

    def _bench(self, arguments: Any, cell: Optional[str]) -> Any:
        command_line.refuse_on_a_login_node(arguments)
        names = ("quick", "operations", "sizes", "features", "threads", "seconds")
        result = kit.bench(arguments.device, **{name: getattr(arguments, name) for name in names})
        if arguments.output is not None:
            result.save(arguments.output)
        return result

    def _recipe(self, arguments: Any, cell: Optional[str]) -> Any:
        from kit.recipes import command

        return command.result(arguments)

    def _nodes(self, arguments: Any, cell: Optional[str]) -> Any:
        from kit.nodes import command

        return command.result(arguments)

    def _page(self, arguments: Any, cell: Optional[str]) -> Any:
        return kit.page(arguments.id)

    # -- completion

    def complete(self, _: Any, event: Any) -> list[str]:
        """What may follow in ``%kit ...``."""
        words = event.line[: event.line.rfind(event.symbol) if event.symbol else None].split()[1:]
        verbs = _verbs()
        if not words:
            return sorted(verbs)
        verb = verbs.get(words[0])
        return sorted(_options(verb, words)) if verb is not None else []


def _parsed(words: list[str]) -> Any:
    """The arguments of a verb; None where its help was asked for and shown."""
    try:
        return command_line.parser().parse_args(words)
    except SystemExit:  # --help and --version
        return None
    except KitError as error:
        raise KitError(f"%kit {shlex.join(words)}: {error}") from None


def _facts(arguments: Any) -> Optional[Facts]:
    """The facts that --facts or --python name; None: those of this kernel are meant."""
    if arguments.facts is not None:
        return command_line.read_facts(arguments.facts)
    return kit.collect(arguments.python) if arguments.python is not None else None


def _verbs() -> dict[str, argparse.ArgumentParser]:
    for action in command_line.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _options(verb: argparse.ArgumentParser, words: list[str]) -> Iterator[str]:
    if isinstance(verb, command_line.Parser):
        verb.fill()
    for action in verb._actions:
        yield from (option for option in action.option_strings if option.startswith("--") and option not in words)
        if action.choices is not None and not action.option_strings and not set(words[1:]) & set(action.choices):
            yield from map(str, action.choices)
    if words[0] == "shim" and len(words) == 2 and words[1] != "list":
        yield from shims.ALL


# -- of the shell


def _as_seen(explanation: Explanation) -> Explanation:
    """With the names that a traceback on the screen has: no numbers of its lines, and a cell is no file."""

    def seen(evidence: str) -> str:
        evidence = re.sub(r'File "[^"\n]*[/\\]ipykernel_\d+[/\\]\d+\.py", line', "the cell, line", evidence)
        return re.sub(r"^line \d+: ", "traceback: ", evidence)

    causes = [dataclasses.replace(cause, evidence=tuple(map(seen, cause.evidence))) for cause in explanation.causes]
    return dataclasses.replace(explanation, causes=tuple(causes))


def _likely(explanation: Explanation, sure: float = SURE) -> bool:
    return bool(explanation.causes) and explanation.causes[0].confidence >= sure


def _traceback(error: BaseException) -> str:
    """The traceback as Python prints it, from the cell on, with the exceptions that led to it."""
    import traceback

    step = error.__traceback__
    while step is not None and step.tb_frame.f_globals.get("__name__") != "__main__":
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, step or error.__traceback__))


def _imported(error: BaseException) -> Optional[str]:
    """The module that a cell imports and that raises this; None where the error comes from something else."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name
    else:
        names, step = [], error.__traceback__
        while step is not None:
            names.append(str(step.tb_frame.f_globals.get("__name__", "")))
            step = step.tb_next
        cell = max((n for n, name in enumerate(names) if name == "__main__"), default=len(names))
        name = next(iter(names[cell + 1 :]), "")
    top = name.partition(".")[0]
    # What is loaded was imported: then the error came from a call.
    return None if top in ("", "__main__", "importlib") or top in sys.modules else top


def _widgets(shell: Any) -> bool:
    """Whether this is a notebook, and ipywidgets is there."""
    return hasattr(shell, "kernel") and importlib.util.find_spec("ipywidgets") is not None


def _display(thing: Any, **options: Any) -> None:
    from IPython.display import display

    show_it: Callable[..., Any] = display
    show_it(thing, **options)


def extension(shell: Any) -> Extension:
    """The kit of this shell, loaded once."""
    found: Optional[Extension] = shell.user_ns_hidden.get(_KEY)
    if found is None:
        found = shell.user_ns_hidden[_KEY] = Extension(shell)
        found.load()
    return found


def unload(shell: Any) -> None:
    found = shell.user_ns_hidden.pop(_KEY, None)
    if found is not None:
        found.unload()
