"""The command line: ``python -m kit VERB ...``, the same as ``kit VERB ...``.

Exit status: 0 nothing wrong, 1 something found, 2 the input or the arguments cannot be used (one line on
stderr).  With ``--json`` one document goes to stdout and nothing else.
"""

import argparse
import dataclasses
import gc
import importlib
import io
import json
import os
import sys
from typing import Any, Callable, NoReturn, Optional

import kit
from kit.collect import attempt
from kit.errors import KitError
from kit.facts import Facts
from kit.findings import Findings


class Help(argparse.HelpFormatter):
    """Help in 80 columns.  argparse makes one of these for every argument, and to ask the terminal imports shutil."""

    def __init__(self, prog: str):
        super().__init__(prog, width=78)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.  ``later`` is a module that adds the arguments of a verb when
    they are first needed, so that no other verb loads what this one is made of."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=Help, **options)
        self.later = ""

    def fill(self) -> "Parser":
        """Have the arguments that come later."""
        if self.later:
            module, self.later = importlib.import_module(self.later), ""
            module.add_arguments(self)
        return self

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        self.fill()
        return super().parse_known_args(*given, **named)

    def error(self, message: str) -> NoReturn:
        raise KitError(f"{message}; see {self.prog} --help")


def main(argv: Optional[list[str]] = None) -> int:
    """Run one command and return its exit status."""
    gc.disable()  # a process of a tenth of a second: collecting would take a twentieth of it
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? for what it does not know
    try:
        arguments = parser().parse_args(argv)
        status: int = arguments.run(arguments)
        return status
    except KitError as error:
        print(f"kit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `kit doctor | head`: the reader has what it wanted
        return 141


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="kit", description=(kit.__doc__ or "").partition("\n")[0])
    top.add_argument("--version", action="version", version=f"kit {kit.__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    doctor = verbs.add_parser("doctor", help="what is wrong with this environment, and what helps")
    doctor.set_defaults(run=run_doctor)
    which = doctor.add_mutually_exclusive_group()
    _python(which)
    which.add_argument("--facts", metavar="FILE", help="a facts file, or the name of a recorded machine")
    _log(doctor)
    _gpu(doctor)
    _json(doctor)

    collect = verbs.add_parser("collect", help="write the facts of this environment as JSON")
    collect.set_defaults(run=run_collect)
    _python(collect)
    collect.add_argument("-o", "--output", metavar="FILE", help="where to write; stdout by default")

    explain = verbs.add_parser("explain", help="what a pasted traceback, log or warning says went wrong")
    explain.set_defaults(run=run_explain)
    explain.add_argument("file", metavar="FILE", nargs="?", default="-", help="the text; stdin by default")
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="EXE", help="the interpreter that said it: its facts decide")
    which.add_argument(
        "--facts", metavar="FILE", help="the same from a facts file, or the name of a recorded machine"
    )
    _json(explain)

    xray = verbs.add_parser("xray", help="would a compiled file load here, and run on this GPU; nothing is loaded")
    xray.set_defaults(run=run_xray)
    xray.add_argument("path", metavar="PATH", nargs="+", help="a .so, a wheel, a package's folder or an environment")
    xray.add_argument("--against", metavar="EXE_OR_DIR", help="where it would have to load; by default where it lies")
    _gpu(xray)
    _json(xray)

    wheel = verbs.add_parser("wheel", help="which published wheel fits here, and why the others do not")
    wheel.set_defaults(run=run_wheel)
    wheel.add_argument("package", metavar="PACKAGE", nargs="+", help="torch-scatter, pyg-lib, torch, ...")
    which = wheel.add_mutually_exclusive_group()
    _python(which)
    which.add_argument("--facts", metavar="FILE", help="a facts file, or the name of a recorded machine")
    wheel.add_argument("--torch", metavar="V", help="for this torch, e.g. 2.12.1+cu126 or 2.12")
    wheel.add_argument("--cuda", metavar="TOKEN", help="for this build of torch, e.g. cu126 or cpu")
    wheel.add_argument("--index", metavar="URL", help="a mirror of the pages, or one page")
    wheel.add_argument("--offline", action="store_true", help="ask nobody: the dated table answers")
    _json(wheel)

    repair = verbs.add_parser("repair", help="mend what the doctor finds: shows the steps, asks, can be undone")
    repair.set_defaults(run=run_repair)
    _python(repair)
    _log(repair)
    _gpu(repair)
    repair.add_argument("--only", metavar="ID", help="mend this failure alone")
    repair.add_argument("--index", metavar="URL", help="a mirror of https://data.pyg.org/whl/")
    repair.add_argument("--into", metavar="PATH", help="leave this environment alone, make a mended twin of it there")
    repair.add_argument("--dry-run", action="store_true", help="show the steps and change nothing")
    repair.add_argument("--yes", action="store_true", help="do the steps without asking")
    _json(repair)

    undo = verbs.add_parser("undo", help="bring back what a repair changed")
    undo.set_defaults(run=run_undo)
    undo.add_argument("receipt", metavar="RECEIPT", nargs="?", help="which repair; the latest by default")
    _python(undo)
    undo.add_argument("--force", action="store_true", help="also where files were changed since the repair")
    undo.add_argument("--discard", action="store_true", help="keep the repair, and drop what was kept for undoing it")
    _json(undo)

    verify = verbs.add_parser("verify", help="run real operators in fresh processes")
    verify.set_defaults(run=run_verify)
    _python(verify)
    verify.add_argument("--require", metavar="WHAT", help="cuda: fail where no GPU can be used")
    _gpu(verify)
    _json(verify)

    shim = verbs.add_parser("shim", help="replacements for packages that no wheel brings any more")
    shim.set_defaults(run=run_shim)
    shim.add_argument("action", metavar="list|enable|disable", choices=("list", "enable", "disable"))
    shim.add_argument("name", metavar="NAME", nargs="?", help="apex.amp, torch_scatter")
    _python(shim)
    shim.add_argument("--cover", action="store_true", help="also in place of another package of that name")
    _json(shim)

    bench = verbs.add_parser("bench", help="time torch_scatter, the kit's own and torch's operators here")
    bench.set_defaults(run=run_bench)
    bench.add_argument("--device", metavar="cpu|cuda", help="by default the GPU where torch sees one")
    bench.add_argument("--quick", action="store_true", help="a small grid, in less than a minute")
    bench.add_argument("--operations", metavar="LIST", help="e.g. scatter-sum,segment; all by default")
    bench.add_argument("--sizes", metavar="LIST", help="rows, e.g. 1e5,1e6; by default 1e4 to 1e8")
    bench.add_argument("--features", metavar="LIST", help="columns, e.g. 1,64; by default 1 to 256")
    bench.add_argument("--threads", metavar="N", type=int, help="threads on the CPU; torch's own by default")
    bench.add_argument("--seconds", metavar="S", type=float, help="leave out what is not done by then")
    bench.add_argument("--here", action="store_true", help="also on a login node, which is for all its users")
    bench.add_argument("-o", "--output", metavar="DIR", help="also write scatter.json and the charts there")
    _json(bench)

    recipe = verbs.add_parser("recipe", help="check, mend and write the files that make environments")
    recipe.set_defaults(run=run_recipe)
    recipe.later = "kit.recipes.command"

    nodes = verbs.add_parser("nodes", help="the same from every node of a cluster: which differ, and why")
    nodes.set_defaults(run=run_nodes)
    nodes.later = "kit.nodes.command"

    page = verbs.add_parser("page", help="the page of one failure")
    page.set_defaults(run=run_page)
    page.add_argument("id", metavar="ID", help="a failure id, e.g. extension-cpu-only")
    return top


def _python(parser: Any) -> None:
    parser.add_argument("--python", metavar="EXE", help="the interpreter to examine; this one by default")


def _log(parser: Any) -> None:
    parser.add_argument("--log", metavar="FILE", help="what an installation that failed has said (- for stdin)")


def _gpu(parser: Any) -> None:
    parser.add_argument("--gpu", metavar="CC", help="a compute capability, e.g. 12.0")


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")


def run_doctor(arguments: Any) -> int:
    facts = read_facts(arguments.facts) if arguments.facts is not None else kit.collect(arguments.python)
    findings = diagnosed(facts, arguments)
    _print(findings, arguments.json)
    return int(findings.verdict != "healthy")


def run_explain(arguments: Any) -> int:
    from kit.explaining import load

    if arguments.file == "-" and sys.stdin is not None and sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        print(f"kit: paste what went wrong, then end it with {end} on a line of its own", file=sys.stderr)
    text = load(arguments.file)
    facts = None
    if arguments.facts is not None:
        facts = read_facts(arguments.facts)
    elif arguments.python is not None:
        facts = kit.collect(arguments.python)
    explanation = kit.explain(text, facts)
    _print(explanation, arguments.json)
    return int(not explanation.harmless)


def diagnosed(facts: Facts, arguments: Any) -> Findings:
    """What is wrong, with the log of an installation and the GPU that the arguments name."""
    if arguments.log is not None:
        facts = dataclasses.replace(facts, attempt=attempt.read(arguments.log))
    return kit.diagnose(facts.with_gpu(arguments.gpu) if arguments.gpu is not None else facts)


def run_collect(arguments: Any) -> int:
    text = kit.collect(arguments.python).to_json()
    if arguments.output is None:
        _write(text)
        return 0
    _save(text, arguments.output)
    return 0


def run_verify(arguments: Any) -> int:
    progress = _progress if sys.stderr.isatty() and not arguments.json else None
    verification = kit.verify(arguments.python, require=arguments.require, gpu=arguments.gpu, progress=progress)
    _print(verification, arguments.json)
    return int(verification.verdict != "healthy")


def run_repair(arguments: Any) -> int:
    from kit.repair.plan import unpublished

    findings = diagnosed(kit.collect(arguments.python), arguments)
    planned = kit.plan(findings, arguments.only, arguments.index, unpublished)
    if not arguments.json:
        _print(planned, False)
    receipt = None
    if planned.steps and not arguments.dry_run:
        if arguments.into is not None:
            from kit.repair.twin import twin

            receipt = twin(planned, arguments.into, _confirmed(arguments), _ticking(arguments))
        else:
            receipt = kit.apply(planned, _confirmed(arguments), _ticking(arguments))
    if arguments.json:
        _write(json.dumps({"schema": 1, "plan": planned.to_dict(), "receipt": receipt and receipt.to_dict()}) + "\n")
    elif receipt is not None:
        _write("\n")
        _print(receipt, False)
    done = not planned.steps or (receipt is not None and receipt.state == "applied")
    return int(not done or bool(planned.left))


def _confirmed(arguments: Any) -> Callable[[Any], bool]:
    """Asks on the terminal, unless ``--yes``; where there is nobody to ask, the answer is no."""

    def confirm(plan: Any) -> bool:
        if arguments.yes:
            return True
        if arguments.json or not sys.stdin or not sys.stdin.isatty():
            print("kit: nobody to ask, so nothing is changed; --yes does the steps", file=sys.stderr)
            return False
        print(
            f"Do {'this step' if len(plan.steps) == 1 else 'these steps'}? [y/N] ",
            end="",
            flush=True,
            file=sys.stderr,
        )
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm


def run_undo(arguments: Any) -> int:
    if arguments.discard:
        from kit.repair import discard

        discard(arguments.receipt, arguments.python)
        return 0
    _print(kit.undo(arguments.receipt, arguments.python, arguments.force), arguments.json)
    return 0


def run_shim(arguments: Any) -> int:
    from kit.repair import shim

    if (arguments.action == "list") != (arguments.name is None):
        raise KitError("kit shim list, or kit shim enable NAME, kit shim disable NAME; see kit shim --help")
    if arguments.action == "list":
        _print(shim.states(arguments.python), arguments.json)
        return 0
    if arguments.action == "enable":
        receipt = shim.enable(arguments.name, arguments.python, arguments.cover, _ticking(arguments))
        done = receipt.state == "applied"
    else:
        receipt = shim.disable(arguments.name, arguments.python, _ticking(arguments))
        done = receipt.state == "applied" or (receipt.state == "undone" and not receipt.why)
    _print(receipt, arguments.json)
    return int(not done)


def run_xray(arguments: Any) -> int:
    shown = kit.xray(arguments.path, against=arguments.against, gpu=arguments.gpu)
    _print(shown, arguments.json)
    return int(shown.verdict != "healthy")


def run_wheel(arguments: Any) -> int:
    from kit.wheels import wheels

    facts = read_facts(arguments.facts) if arguments.facts is not None else kit.collect(arguments.python)
    torch, cuda, index = arguments.torch, arguments.cuda, arguments.index
    shown = wheels(arguments.package, facts, torch, cuda, index, offline=arguments.offline)
    _print(shown, arguments.json)
    return int(shown.verdict != "found")


def refuse_on_a_login_node(arguments: Any) -> None:
    if not arguments.here:
        from kit.nodes.place import refuse_to_compute

        refuse_to_compute("the benchmark")


def run_bench(arguments: Any) -> int:
    refuse_on_a_login_node(arguments)
    interactive = sys.stderr.isatty() and not arguments.json
    result = kit.bench(
        arguments.device,
        quick=arguments.quick,
        operations=arguments.operations,
        sizes=arguments.sizes,
        features=arguments.features,
        threads=arguments.threads,
        seconds=arguments.seconds,
        progress=_one_line if interactive else None,
    )
    if interactive:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    _print(result, arguments.json)
    if arguments.output is not None:
        result.save(arguments.output)
    return int(not result.healthy)


def run_recipe(arguments: Any) -> int:
    from kit.recipes import command

    return command.run(arguments, _write, _confirmed(arguments))


def run_nodes(arguments: Any) -> int:
    from kit.nodes import command

    return command.run(arguments, _write, _progress if sys.stderr.isatty() and not arguments.json else None)


def run_page(arguments: Any) -> int:
    _write(str(kit.page(arguments.id)))
    return 0


def read_facts(name: str) -> Facts:
    """Facts from a file, or those of a recorded machine where no such file is."""
    if not os.path.exists(name) and name in kit.machines():
        return kit.machine(name)
    return kit.load(name)


def _print(result: Any, as_json: bool) -> None:
    if as_json:
        _write(json.dumps(result.to_dict()) + "\n")
    else:
        from kit import show

        _write(show.text(result) + "\n")


def _write(text: str) -> None:
    """Write to stdout at once, so that a full disk or a reader that left is met here and not at exit."""
    if sys.stdout is None:  # closed by the caller: `kit doctor >&-`
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would be tried again, and fail again, when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise KitError(f"the output cannot be written: {error.strerror or error}") from None


def _save(text: str, file: str) -> None:
    """Write a file; one that was there stays as it was until the new one is whole."""
    whole = not os.path.exists(file) or os.path.isfile(file)  # not a pipe or /dev/stdout
    part = f"{file}.part" if whole else file
    try:
        with open(part, "w", encoding="utf-8") as stream:
            stream.write(text)
        if whole:
            os.replace(part, file)
    except OSError as error:
        if whole and os.path.isfile(part):
            os.unlink(part)
        raise KitError(f"{file} cannot be written: {error.strerror or error}") from None


def _ticking(arguments: Any) -> Optional[Callable[[Any], None]]:
    """Shows how far a repair is: on a terminal in one line, in a log one line for each thing that it does."""
    if arguments.json:
        return None
    from kit import show

    last = ""

    def tell(tick: Any) -> None:
        nonlocal last
        phase = f"{tick.step} {tick.what}"
        if sys.stderr.isatty():
            end = "\n" if last and phase != last else ""
            print(f"{end}\r\033[K{show.tick_text(tick)[:110]}", end="", file=sys.stderr, flush=True)
        elif phase != last:
            print(show.tick_text(tick), file=sys.stderr, flush=True)
        last = phase

    return tell


def _one_line(tick: Any) -> None:
    from kit import show

    print(f"\r\033[K{show.tick_text(tick)[:110]}", end="", file=sys.stderr, flush=True)


def _progress(name: str, done: int, total: int) -> None:
    print(f"\r\033[K{done}/{total} {name}" if done < total else "\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
