"""Asks the nodes with ``pbsdsh`` in one job of PBS: each writes one facts file into a folder that all share."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Optional

from kit.collect.run import run
from kit.errors import KitError
from kit.nodes import folder as files
from kit.nodes import onefile
from kit.nodes.engines import asking, inventory, jobs
from kit.nodes.records import Answer, Asked, Tell

_POLL = 0.5
_GONE = 3.0  # seconds after the job's end in which a file may still appear on a network file system
_NODES, _LOG = "nodes", "job.out"


def pbsdsh(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
    """One job with a chunk on every node; within a job of PBS, on its nodes.

    The folder for the files is ``asked.folder``; without one it is made in the working directory, and removed.
    """
    inside = os.environ.get("PBS_JOBID") is not None
    names: list[str] = []
    if not inside:
        there = inventory.pbs()
        wanted = asking.chosen(asked, inventory.preferred(there))
        refused = inventory.refused(wanted, there, "pbs")
        yield from refused
        names = [name for name in wanted if name not in {answer.node for answer in refused}]
        if not names:
            return
    with _Shared(asked.folder) as shared:
        file = onefile.make(shared)
        job = _Job(shared, script(asked, names, shared, file), inside)
        try:
            yield from _answers(job, names, shared, asked, tell)
        finally:
            job.end()


def script(asked: Asked, names: Sequence[str], shared: str, file: str) -> str:
    """The job's script.  Each chunk is on another node, and finds its name in the list of the job's nodes."""
    chunks = "+".join(f"1:ncpus=1{jobs.of_pbs(asked)}:host={name}" for name in names)
    directives = ["-N kit-nodes", f"-l select={chunks}", "-l place=scatter"]
    directives += [f"-l walltime={asked.walltime or jobs.walltime(asked)}", "-j oe", f"-o {shared}/{_LOG}"]
    directives += [f"-q {asked.queue}"] if asked.queue else []
    directives += [f"-A {asked.account}"] if asked.account else []
    directives += asked.options
    listed = shlex.quote(os.path.join(shared, _NODES))
    # pbsdsh passes no environment on: what a node needs stands in its arguments.
    name = f'--node "$(sed -n "$((${{PBS_NODENUM:-0}} + 1))p" {listed})"'
    launch = asking.LAUNCH.replace('"$@"', f'"$@" {name}')
    python = asked.python or sys.executable
    program = [python, file, *asking.arguments(asked, python=python), "--output", shared]
    return "\n".join(
        [
            "#!/bin/sh",
            *(f"#PBS {directive}" for directive in directives),
            f'cat "$PBS_NODEFILE" > {listed}.part && mv {listed}.part {listed}',
            f"pbsdsh -- /bin/sh -c {shlex.quote(launch)} {' '.join(map(shlex.quote, program))}",
            "",
        ]
    )


class _Shared:
    """The folder in which the nodes write; one that was made for it is removed."""

    def __init__(self, folder: Optional[str]):
        self.given, self.path = folder, ""

    def __enter__(self) -> str:
        try:
            if self.given is None:
                self.path = tempfile.mkdtemp(prefix="kit-nodes-", dir=os.getcwd())
            else:
                self.path = os.path.abspath(self.given)
                os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            where = self.given or os.getcwd()
            raise KitError(f"{where} cannot hold the nodes' files: {error.strerror or error}; name -o DIR") from None
        return self.path

    def __exit__(self, *_: object) -> None:
        if self.given is None:
            shutil.rmtree(self.path, ignore_errors=True)


class _Job:
    """The job, or pbsdsh itself where this runs within one."""

    def __init__(self, shared: str, text: str, inside: bool):
        self.file = os.path.join(shared, "job.sh")
        with open(self.file, "w", encoding="utf-8") as stream:
            stream.write(text)
        self.id = ""
        self.process: Optional[subprocess.Popen[bytes]] = None
        if not inside:
            self.id = inventory.command(["qsub", self.file], "PBS", "qsub").out.strip()
            return
        if shutil.which("pbsdsh") is None:
            raise asking.missing("pbsdsh", "this engine needs it within a job of PBS", "use --engine pbs")
        with open(os.path.join(shared, _LOG), "wb") as log:
            argv = ["/bin/sh", self.file]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ended(self) -> bool:
        if self.process is not None:
            return self.process.poll() is not None
        return run(["qstat", self.id], inventory.LIMIT).status not in (0, None)

    def end(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait()
        elif not self.ended():
            run(["qdel", self.id], inventory.LIMIT)


def _answers(job: _Job, names: Sequence[str], shared: str, asked: Asked, tell: Optional[Tell]) -> Iterator[Answer]:
    """The files as they appear; then those that gave none."""
    begun, started, ended = time.monotonic(), 0.0, 0.0
    seen: set[str] = set()
    wanted = list(names)
    while True:
        now = time.monotonic()
        listed = _listed(shared)
        started = started or (now if listed else 0.0)
        wanted = wanted or listed
        for file in sorted(name for name in os.listdir(shared) if name.endswith(".json") and name not in seen):
            seen.add(file)
            answer = files.answer(os.path.join(shared, file), file[: -len(".json")])
            yield answer
        missing = [name for name in wanted if not _there(name, seen)]
        if tell is not None:
            tell("asking the nodes" if started else "waiting for the job", len(seen), len(wanted))
        if wanted and not missing:
            return
        ended = ended or (now if job.ended() else 0.0)
        late = started and now - started > asked.limit + asking.GRACE
        if late or (ended and now - ended > _GONE) or (not started and now - begun > asked.limit + jobs.START):
            break
        time.sleep(_POLL)
    said = _said(shared)
    for name in missing:
        own = next((answer for answer in said if _short(answer.node) == _short(name)), None)
        why = "its chunk of the job wrote no file" if started else "its job did not start"
        within = "" if ended else f" within {asked.limit if started else asked.limit + jobs.START:g} s"
        yield own or Answer(name, "silent", why=why + within)


def _listed(shared: str) -> list[str]:
    try:
        with open(os.path.join(shared, _NODES), encoding="utf-8") as stream:
            return list(dict.fromkeys(stream.read().split()))
    except FileNotFoundError:
        return []


def _there(name: str, seen: set[str]) -> bool:
    return any(_short(file[: -len(".json")]) == _short(name) for file in seen)


def _short(name: str) -> str:
    return name if re.fullmatch(r"[\d.]+", name) else name.partition(".")[0]


def _said(shared: str) -> list[Answer]:
    """What nodes have said that could not write their file, out of the job's output."""
    try:
        with open(os.path.join(shared, _LOG), encoding="utf-8", errors="replace") as stream:
            lines = [line for line in stream if line.startswith('{"')]
    except OSError:
        return []
    return [answer for answer in (files.said(line, "") for line in lines) if answer.node]
