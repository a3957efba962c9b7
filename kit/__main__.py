"""The command line: ``python -m kit VERB ...``, the same as ``kit VERB ...``.

Exit status: 0 nothing wrong, 1 something found, 2 the input or the arguments cannot be used (one line on
stderr).  With ``--json`` one document goes to stdout and nothing else.
"""

import argparse
import gc
import io
import json
import os
import sys
from typing import Any, NoReturn, Optional

import kit
from kit.errors import KitError
from kit.facts import Facts


class Help(argparse.HelpFormatter):
    """Help in 80 columns.  argparse makes one of these for every argument, and to ask the terminal imports shutil."""

    def __init__(self, prog: str):
        super().__init__(prog, width=78)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=Help, **options)

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
    _gpu(doctor)
    _json(doctor)

    collect = verbs.add_parser("collect", help="write the facts of this environment as JSON")
    collect.set_defaults(run=run_collect)
    _python(collect)
    collect.add_argument("-o", "--output", metavar="FILE", help="where to write; stdout by default")

    xray = verbs.add_parser("xray", help="would a compiled file load here, and run on this GPU; nothing is loaded")
    xray.set_defaults(run=run_xray)
    xray.add_argument("path", metavar="PATH", nargs="+", help="a .so, a wheel, a package's folder or an environment")
    xray.add_argument("--against", metavar="EXE_OR_DIR", help="where it would have to load; by default where it lies")
    _gpu(xray)
    _json(xray)

    verify = verbs.add_parser("verify", help="run real operators in fresh processes")
    verify.set_defaults(run=run_verify)
    _python(verify)
    verify.add_argument("--require", metavar="WHAT", help="cuda: fail where no GPU can be used")
    _gpu(verify)
    _json(verify)

    page = verbs.add_parser("page", help="the page of one failure")
    page.set_defaults(run=run_page)
    page.add_argument("id", metavar="ID", help="a failure id, e.g. extension-cpu-only")
    return top


def _python(parser: Any) -> None:
    parser.add_argument("--python", metavar="EXE", help="the interpreter to examine; this one by default")


def _gpu(parser: Any) -> None:
    parser.add_argument("--gpu", metavar="CC", help="a compute capability, e.g. 12.0")


def _json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")


def run_doctor(arguments: Any) -> int:
    facts = read_facts(arguments.facts) if arguments.facts is not None else kit.collect(arguments.python)
    findings = kit.diagnose(facts.with_gpu(arguments.gpu) if arguments.gpu is not None else facts)
    _print(findings, arguments.json)
    return int(findings.verdict != "healthy")


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


def run_xray(arguments: Any) -> int:
    shown = kit.xray(arguments.path, against=arguments.against, gpu=arguments.gpu)
    _print(shown, arguments.json)
    return int(shown.verdict != "healthy")


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


def _progress(name: str, done: int, total: int) -> None:
    print(f"\r\033[K{done}/{total} {name}" if done < total else "\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
