"""Find out why a PyTorch environment fails, and how to mend it: the module behind the notebooks.

    kit.collect(python=None) -> Facts        read an environment without importing anything of it
    kit.diagnose(facts) -> Findings          what is wrong, with evidence and what helps
    kit.doctor(python=None) -> Findings      both in one
    kit.explain(text) -> Explanation         what a pasted text says went wrong, the likeliest cause first
    kit.plan(findings) -> Plan               steps that mend, tried on simulated facts; nothing is changed
    kit.apply(plan, confirm) -> Receipt      do the steps; taken back where they do not help
    kit.undo(receipt) -> Receipt             the environment as it was before
    kit.wheel(packages, facts) -> Wheels     which published wheel fits, and why the others do not
    kit.reproduce(id)                        a throwaway environment that really has this failure
    kit.shims.enable(name), .disable(name)   have `import apex` find the kit's replacement, in this process
    kit.bench(device=None) -> Bench          time compiled torch_scatter, the kit's shim and torch's own operators
    kit.verify(python=None) -> Verification  run real operators in fresh processes
    kit.recipes.check(files), .write(kind)   what a Dockerfile or requirements file leads to; one that works
    kit.nodes.check(folder)                  which nodes of a cluster differ, and why
    kit.xray(path) -> XRay                   would a compiled file load here, and run on this GPU
    kit.load(file) -> Facts                  facts from a file that `kit collect -o` wrote
    kit.machine(name), kit.machines()        recorded machines, healthy and broken
    kit.page(id)                             the page of one failure

Importing kit needs the standard library alone: what a verb needs beyond it, it loads when it is called.
"""

import dataclasses
import importlib
from typing import Any, Optional

from kit.collect import collect
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import About, Facts
from kit.failures import Page, catalogue
from kit.findings import Findings
from kit.recorded import names as _recorded_names
from kit.recorded import recorded as _recorded
from kit.verify import verify
from kit.xray import xray

__version__ = "0.1.0"
__all__ = [
    "KitError",
    "apply",
    "bench",
    "collect",
    "diagnose",
    "doctor",
    "explain",
    "load",
    "machine",
    "machines",
    "page",
    "plan",
    "reproduce",
    "undo",
    "verify",
    "wheel",
    "xray",
]

LIVE = "live"
# Verbs whose modules are loaded when they are first asked for: `kit doctor` needs none of them.
_LATER = {
    "explain": ("kit.explaining", "explain"),
    "plan": ("kit.repair.plan", "plan"),
    "apply": ("kit.repair", "apply"),
    "undo": ("kit.repair", "undo"),
    "wheel": ("kit.wheels", "wheels"),
    "bench": ("kit.benchmark", "bench"),
    "reproduce": ("kit.throwaway", "reproduce"),
    "recipes": ("kit.recipes", ""),
    "nodes": ("kit.nodes", ""),
    "shims": ("kit.shims", ""),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'kit' has no attribute {name!r}")
    module, function = _LATER[name]
    loaded = importlib.import_module(module)
    return getattr(loaded, function) if function else loaded


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext kit``: ``%kit``, and a card under the traceback of a broken environment."""
    importlib.import_module("kit.ipython").extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext kit``."""
    importlib.import_module("kit.ipython").unload(shell)


def doctor(python: Optional[str] = None, *, machine: str = LIVE, gpu: Optional[str] = None) -> Findings:
    """Collect and diagnose: this process, the interpreter ``python``, or a recorded ``machine``.

    ``gpu`` is a compute capability such as ``'12.0'``: diagnose for a GPU of that kind.
    """
    facts = collect(python) if machine == LIVE else _machine(machine)
    return diagnose(facts.with_gpu(gpu) if gpu else facts)


def load(file: str) -> Facts:
    """The facts in a file.  KitError where it holds none."""
    try:
        with open(file, "rb") as stream:
            return Facts.from_json(stream.read(), file)
    except OSError as error:
        raise KitError(f"{file} cannot be read: {error.strerror or error}") from None


def machine(name: str) -> Facts:
    """The facts of a recorded machine, or of the example of a failure.  KitError where there is none."""
    try:
        return _recorded(name)
    except KeyError:
        pass
    for failure in catalogue():
        if failure.id == name and failure.example is not None:
            return dataclasses.replace(failure.example(), about=About(name, "example"))
    raise KitError(f"no machine is called {name!r}; there are {', '.join(machines())}")


_machine = machine  # `doctor` has a parameter of that name


def machines() -> tuple[str, ...]:
    """The names that :func:`machine` knows: recorded machines, then one example for each failure."""
    return (*_recorded_names(), *sorted(failure.id for failure in catalogue() if failure.example is not None))


def page(id: str) -> Page:
    """The page of a failure: what it means, how it is found, an example, the fix, known limits; or of a rule for
    recipes."""
    pages = {failure.id: failure.page for failure in catalogue()}
    if id in pages:
        return pages[id]
    from kit.recipes.rules import rules

    of_rules = {rule.id: Page(rule.page) for rule in rules()}
    if id in of_rules:
        return of_rules[id]
    raise KitError(
        f"no failure is called {id!r}; there are {', '.join(sorted(pages))}; and no rule of `kit recipe check`"
    )
