"""Builds a wheel in the interpreter that it is for: what pip does, with the compiling done ahead and side by side.

    python build_child.py probe              what this interpreter is, as JSON
    python build_child.py wheel JSON         a wheel of the project in the working folder

An extension's ``setup.py`` compiles one file after the other.  Here the command ``build_ext`` is first rehearsed in a
forked process whose compiler writes down what it is told to run; these commands are run side by side, over all
extensions; then ``build_ext`` does its work as ever, and takes an object file that is there already instead of
compiling it.  Where anything cannot be done ahead it is done then, in the usual way: the rehearsal changes no result.

Three things differ from a plain build.  The debug information that Python asks for (``-g``) is not written; for
torch's headers that is half the time, and most of these packages strip it.  gcc is told not to collect its garbage
before it holds 1.5 GB, which spares an eighth.  And where files outnumber the compilers, C++ files of one library
that are compiled with the same flags are compiled as one, as in CMake's unity builds: torch's headers, read and
instantiated once, are most of each (of torch-scatter 84 s instead of 62 + 78, with 2.5 GB).  What does not compile as
one is compiled file by file.  A precompiled header was measured and left out: it takes 67 s and 790 MB, and saves
12 s a file.

Standard library, and the setuptools of the environment.  Nothing of the kit is imported.
"""

import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from typing import Any, Callable, Optional

SPARE = ["--param=ggc-min-expand=1000", "--param=ggc-min-heapsize=1500000"]
NO_MEMORY = re.compile(rb"\bKilled\b|out of memory|memory exhausted|Cannot allocate memory|signal 9\b", re.IGNORECASE)
CXX = (".cpp", ".cc", ".cxx", ".C")
USUAL_COMMANDS = ("setuptools.", "distutils.", "torch.utils.cpp_extension", "Cython.")


Unit = list[dict[str, Any]]  # compile commands that are run as one


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- what this interpreter is ---------------------------------------------------------------------


def probe() -> dict[str, Any]:
    """Found without importing any of it."""
    from importlib import metadata

    versions = {}
    for name in ("setuptools", "wheel", "pip"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    torch = importlib.util.find_spec("torch")
    include = sysconfig.get_path("include")
    return {
        "version": platform.python_version(),
        "paths": sys.path,
        "prefix": sys.prefix,
        "include": include,
        "headers": os.path.isfile(os.path.join(include, "Python.h")),
        "soabi": sysconfig.get_config_var("SOABI") or sysconfig.get_config_var("EXT_SUFFIX"),
        "platform": "-".join(filter(None, [sysconfig.get_platform(), "".join(platform.libc_ver())])),
        "cxx": sysconfig.get_config_var("CXX") or "",
        "torch": torch.origin if torch else None,
        "versions": versions,
    }


# --- compiling ahead ------------------------------------------------------------------------------


class Ahead:
    """The compiling of one ``build_ext``, done before it."""

    def __init__(self, work: str, jobs: int, roomy: bool) -> None:
        self.work, self.jobs, self.roomy = work, jobs, roomy
        self.done: dict[tuple[str, ...], str] = {}
        self.gcc: dict[tuple[str, ...], bool] = {}

    def install(self) -> None:
        """Stand before ``build_ext.run`` and before the compiler that it uses."""
        command = importlib.import_module("setuptools.command.build_ext").build_ext
        compiler: Any = importlib.import_module("distutils.ccompiler").CCompiler
        self.call = "call" if hasattr(compiler, "call") else "spawn"  # as older ones name it
        plain, run = getattr(compiler, self.call), command.run

        def ahead(build_ext: Any) -> Any:
            written = self.rehearse(build_ext, compiler, run) if build_ext.extensions else None
            if written:
                build_ext.use_ninja = False
                self.compile(written)
                setattr(compiler, self.call, served)
            try:
                return run(build_ext)
            finally:
                setattr(compiler, self.call, plain)

        def served(this: Any, argv: Any, *more: Any, **options: Any) -> Any:
            ready = self.done.get(tuple(map(str, argv)))
            if ready is None:
                return plain(this, argv, *more, **options)
            shutil.copyfile(ready, output(argv) or os.devnull)

        command.run = ahead

    def rehearse(self, build_ext: Any, compiler: Any, run: Callable[[Any], Any]) -> "list[dict[str, Any]]":
        """The compile commands that ``build_ext`` would run; none where it is not known to only compile."""
        usual = (getattr(type(build_ext), name).__module__ for name in ("build_extension", "build_extensions"))
        if not all(module.startswith(USUAL_COMMANDS) for module in usual):
            say("kit: this project compiles in a way of its own; nothing is done ahead")
            return []
        file = os.path.join(self.work, "commands")
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
                with open(file, "w", encoding="utf-8") as stream:

                    def write_down(this: Any, argv: Any, *more: Any, **options: Any) -> None:
                        argv, env = list(map(str, argv)), options.get("env")
                        if "-c" in argv and output(argv):
                            row = {"argv": argv, "cwd": os.getcwd(), "env": env and dict(env)}
                            stream.write(json.dumps(row) + "\n")
                            stream.flush()

                    setattr(compiler, self.call, write_down)
                    build_ext.use_ninja = False
                    run(build_ext)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(pid, 0)[1] != 0:
            say("kit: the rehearsal failed; nothing is done ahead")
            return []
        with open(file, encoding="utf-8") as stream:
            return [json.loads(line) for line in stream]

    def compile(self, written: "list[dict[str, Any]]") -> None:
        """Run these commands, ``jobs`` at a time, the long ones first; exit where one fails."""
        rows = list({tuple(row["argv"]): row for row in written}.values())
        total, cuda = len(rows), sum(source(row["argv"]).endswith(".cu") for row in rows)
        waiting = sorted(units(rows, most=-(-total // self.jobs) if self.roomy else 1), key=length)
        say(f"kit: 0 of {total} files compiled, {cuda} of them CUDA, {self.jobs} at once")
        running: list[tuple[subprocess.Popen[bytes], Unit, str]] = []
        started = finished = 0
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    unit = waiting.pop()
                    started += 1
                    target = os.path.join(self.work, f"{started}.o")
                    running.append((self.start(unit, target), unit, target))
                time.sleep(0.02)
                for job in [job for job in running if job[0].poll() is not None]:
                    running.remove(job)
                    if self.finish(*job):
                        finished += len(job[1])
                        say(f"kit: {finished} of {total} files compiled")
                    elif len(job[1]) > 1:
                        waiting += [[row] for row in job[1]]
        finally:
            for process, *_ in running:
                process.kill()
                process.wait()

    def start(self, unit: "Unit", target: str) -> "subprocess.Popen[bytes]":
        """The compiler at work on ``unit``: one file as it was to be compiled, or several, one after the other."""
        row, argv = unit[0], self.quick(unit[0]["argv"], target)
        text = "".join(f'#include "{source(row["argv"])}"\n' for row in unit)
        with open(target + ".log", "wb") as log, open(target + ".in", "w+", encoding="utf-8") as stdin:
            if len(unit) > 1:
                stdin.write(text)
                stdin.seek(0)  # from standard input paths and __FILE__ are what they are for one file
                argv = from_stdin(argv)
            return subprocess.Popen(argv, cwd=row["cwd"], env=row["env"], stdin=stdin, stdout=log, stderr=log)

    def finish(self, process: "subprocess.Popen[bytes]", unit: "Unit", target: str) -> bool:
        """Is ``unit`` compiled?  Exits where its only file has an error; for lack of memory it is left to the end."""
        with open(target + ".log", "rb") as log:
            said = log.read()
        done = process.returncode == 0 and os.path.isfile(target)
        if done or len(unit) == 1:
            for row in unit:
                say(" ".join(row["argv"]))
            sys.stdout.buffer.write(said if not said or said.endswith(b"\n") else said + b"\n")
        if done:
            for row in unit[1:]:  # what is in these files is in the first one's object
                rest = f"{target}.{len(self.done)}.o"
                empty = from_stdin(self.quick(row["argv"], rest))
                subprocess.run(empty, cwd=row["cwd"], env=row["env"], stdin=subprocess.DEVNULL, check=True)
                self.done[tuple(row["argv"])] = rest
            self.done[tuple(unit[0]["argv"])] = target
        elif process.returncode < 0 or NO_MEMORY.search(said):
            self.jobs = 1
            say("kit: the compiler was ended, perhaps for lack of memory; what it did is compiled again, alone")
        elif len(unit) > 1:
            names = ", ".join(source(row["argv"]) for row in unit)
            say(f"kit: {names} do not compile as one; each is compiled by itself")
        else:
            say(f"error: the compiler ended with status {process.returncode}")
            raise SystemExit(1)
        return done

    def quick(self, argv: "list[str]", target: str) -> "list[str]":
        """The same command for the same code, in less time and into a file of our own."""
        argv = list(argv)
        argv[argv.index("-o") + 1] = target
        asked = " ".join(os.environ.get(name, "") for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS")).split()
        head = next(i for i, word in enumerate(argv) if word.startswith("-"))
        if (
            "-g" not in asked
        ):  # what stands before the file is what Python was built with; a project's own comes later
            end = argv.index("-c")
            argv[:end] = ["-g0" if word == "-g" else word for word in argv[:end]]
        if self.roomy and self.is_gcc(tuple(argv[:head])):
            argv[head:head] = SPARE
        return argv

    def is_gcc(self, compiler: "tuple[str, ...]") -> bool:
        if compiler not in self.gcc:
            done = subprocess.run([*compiler, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.gcc[compiler] = b"Free Software Foundation" in done.stdout
        return self.gcc[compiler]


def output(argv: "list[str]") -> Optional[str]:
    """The file that a compile command writes."""
    return argv[argv.index("-o") + 1] if "-o" in argv[:-1] else None


def source(argv: "list[str]") -> str:
    at = argv.index("-c") + 1
    return argv[at] if at < len(argv) else ""


def from_stdin(argv: "list[str]") -> "list[str]":
    """The same command for C++ that is read from standard input."""
    at = argv.index("-c")
    return [*argv[:at], "-x", "c++", "-c", "-", *argv[at + 2 :]]


def units(rows: "list[dict[str, Any]]", most: int) -> "list[Unit]":
    """The commands, with those brought together that compile C++ with the same flags, at most ``most`` of them."""
    groups: dict[str, list[Unit]] = {}
    for row in rows:
        argv, file = list(row["argv"]), source(row["argv"])
        argv[argv.index("-c") + 1] = argv[argv.index("-o") + 1] = ""
        alone = not file.endswith(CXX)
        found = groups.setdefault(json.dumps([argv, row["cwd"], row["env"], file if alone else ""]), [[]])
        if len(found[-1]) == most:
            found.append([])
        found[-1].append(row)
    return [unit for found in groups.values() for unit in found]


def length(unit: "Unit") -> "tuple[bool, int]":
    """A guess of how long it takes to compile, for comparing: CUDA before C++, then by size."""
    files = [os.path.join(row["cwd"], source(row["argv"])) for row in unit]
    return files[0].endswith(".cu"), sum(os.path.getsize(file) for file in files if os.path.isfile(file))


# --- the wheel ------------------------------------------------------------------------------------


def wheel(out: str, work: str, jobs: int, roomy: bool) -> None:
    """Build the wheel of the working folder into ``out``; objects go to ``work``."""
    if hasattr(os, "fork"):
        os.makedirs(work, exist_ok=True)
        Ahead(work, jobs, roomy).install()
    name, paths = backend()
    sys.path[:0] = paths
    module, _, attribute = name.partition(":")
    builder: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        builder = getattr(builder, part)
    builder.build_wheel(out)


def backend() -> "tuple[str, list[str]]":
    """(the build backend of the working folder's project, its own folders for ``sys.path``)."""
    usual = "setuptools.build_meta:__legacy__"
    if not os.path.isfile("pyproject.toml"):
        return usual, []
    with open("pyproject.toml", encoding="utf-8") as stream:
        table = re.search(r"^\[build-system\]\s*$(.*?)(?=^\[|\Z)", stream.read(), re.M | re.S)
    named = re.search(r"^build-backend\s*=\s*[\"']([^\"']+)", table[1] if table else "", re.M)
    paths = re.search(r"^backend-path\s*=\s*\[([^\]]*)\]", table[1] if table else "", re.M)
    return named[1] if named else usual, [
        os.path.abspath(p) for p in re.findall(r"[\"']([^\"']+)", paths[1] if paths else "")
    ]


def end_with(parent: int, work: str) -> None:
    """Where the process that started this one is gone, end the compilers and leave nothing behind."""
    while os.getppid() == parent:
        time.sleep(0.5)
    own_group = os.getpgrp() == os.getpid()
    if own_group:
        os.killpg(0, signal.SIGTERM)  # compilers take their temporary files with them
    for _ in range(2):  # one that is just ending may still write
        time.sleep(0.2)
        shutil.rmtree(work, ignore_errors=True)
    if own_group:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [
        path for path in sys.path if os.path.abspath(path or ".") != here
    ]  # kit's modules are not names here
    if sys.argv[1] == "probe":
        return say(json.dumps(probe()))
    asked, parent = json.loads(sys.argv[2]), os.getppid()
    folder = asked.pop("folder")
    sys.argv = [sys.argv[0]]
    if os.name != "posix":
        return wheel(**asked)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # end_with sends it to the whole group
    threading.Thread(target=end_with, args=(parent, folder), daemon=True).start()
    try:
        wheel(**asked)
    finally:
        while os.getppid() != parent:  # end_with is at work, and ends this too
            time.sleep(0.1)


if __name__ == "__main__":
    main()
