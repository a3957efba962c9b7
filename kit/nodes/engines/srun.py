"""Asks the nodes with one ``srun``: the one file goes in through its standard input, the answers come out of it.

No folder has to be shared, and no port to be open but Slurm's own.
"""

import math
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any, Optional

from kit import schedulers
from kit.nodes import names as notation
from kit.nodes import node as one
from kit.nodes import onefile
from kit.nodes.engines import asking, inventory
from kit.nodes.records import Answer, Asked, Tell

START = 30.0  # seconds beyond the limit that the nodes may be waited for
_QUIET = 2.0  # seconds in which what a node said last may still be on its way
# "srun: error: node2: task 1: Segmentation fault"; also of several: "node[2-3]: tasks 1-2: Killed"
_ENDED = re.compile(r"(?:srun|slurmstepd): error: ([\w.\[\],-]+): tasks? [\d,-]+: (.+)")
_LAUNCH = re.compile(r"launch .*failed on node ([\w.-]+): (.+)", re.I)
_LOST = re.compile(r"(?:srun|slurmstepd): error: .*?Node failure on ([\w.\[\],-]+)", re.I)
_SAYS = {"Segmentation fault": "SIGSEGV", "Aborted": "SIGABRT", "Bus error": "SIGBUS", "Killed": "SIGKILL"}


def srun(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
    """One step with a task on every node; inside an allocation, on its nodes.

    Where no interpreter is named, the nodes are asked for the one that runs this.
    """
    mine = list(schedulers.expanded(os.environ.get("SLURM_JOB_NODELIST", "")))
    if mine:
        wanted = asking.chosen(asked, mine)
        others = [name for name in wanted if name not in mine]
        refused = [Answer(name, "refused", why="it is no node of this allocation") for name in others]
    else:
        there = inventory.slurm(asked.partition or asked.queue)
        wanted = asking.chosen(asked, inventory.preferred(there))
        refused = inventory.refused(wanted, there, "slurm")
    yield from refused
    names = [name for name in wanted if name not in {answer.node for answer in refused}]
    if names:
        yield from _Step(command(asked, names, bool(mine)), names, asked, tell).answers()


def command(asked: Asked, names: Sequence[str], inside: bool = False) -> list[str]:
    """The command, without what goes into its standard input."""
    minutes = math.ceil((asked.limit + START + 60) / 60)
    options = [
        f"--nodes={len(names)}",
        f"--ntasks={len(names)}",
        "--ntasks-per-node=1",
        f"--nodelist={notation.compact(names)}",
        "--job-name=kit-nodes",
        "--no-kill",  # one node that fails does not end the others
        "--kill-on-bad-exit=0",
        "--wait=0",
        f"--time={asked.walltime or minutes}",
    ]
    options += ["--overlap"] if inside else []  # the step from which this is called has the allocation's cores
    options += [f"--partition={asked.partition or asked.queue}"] if asked.partition or asked.queue else []
    options += [f"--account={asked.account}"] if asked.account else []
    options += [f"--gres=gpu:{asked.gpus}"] if asked.gpus else []
    return ["srun", *options, *asked.options, "sh", "-c", asking.LAUNCH, *program(asked), "--lines"]


def program(asked: Asked) -> list[str]:
    """The interpreter under test and the one file's arguments, as :data:`asking.LAUNCH` takes them."""
    return [asked.python or sys.executable, "-", *asking.arguments(asked, python=sys.executable)]


class _Step:
    """One srun: who began, who answered, and what it says of the others."""

    def __init__(self, argv: list[str], names: Sequence[str], asked: Asked, tell: Optional[Tell]):
        self.names, self.asked, self.tell = list(names), asked, tell
        self.began: dict[str, float] = {}
        self.lines = one.Lines(lambda name: self.began.setdefault(name, time.monotonic()))
        self.why: dict[str, tuple[str, str]] = {}  # by node: state and reason, as srun tells them
        self.said: list[str] = []
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()
        self.begun = time.monotonic()
        try:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except FileNotFoundError:
            raise asking.missing("srun", "this engine asks Slurm", "run it on a login node of the cluster") from None
        self.threads = [self.thread(self.feed), self.thread(self.hear, "out"), self.thread(self.hear, "err")]

    def thread(self, work: Any, *arguments: str) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        return thread

    def feed(self) -> None:
        stream: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        try:
            stream.write(onefile.text().encode("utf-8"))
            stream.close()
        except OSError:  # srun has ended, and says why
            pass

    def hear(self, which: str) -> None:
        stream = self.process.stdout if which == "out" else self.process.stderr
        for line in stream or ():
            self.heard.put((which, line.decode("utf-8", "replace")))
        self.heard.put((which, ""))

    def answers(self) -> Iterator[Answer]:
        waiting = dict.fromkeys(self.names)
        quiet: Optional[float] = None
        try:
            while waiting:
                for name, text in self.listen():
                    if name in waiting:
                        del waiting[name]
                        yield asking.answered(name, text, self.asked)
                if self.tell is not None:
                    self.tell("asking the nodes", len(self.names) - len(waiting), len(self.names))
                now = time.monotonic()
                for name in [name for name in waiting if name in self.why]:
                    if now - self.begun > _QUIET and self.heard.empty():
                        del waiting[name]
                        state, why = self.why[name]
                        yield Answer(name, state, why=why)
                for name in [name for name in waiting if self.late(name, now)]:
                    del waiting[name]
                    yield self.silent(name)
                if self.process.poll() is not None and self.heard.empty():
                    quiet = quiet or now
                    if now - quiet > _QUIET or not any(thread.is_alive() for thread in self.threads):
                        break
            for name in waiting:
                yield self.without(name)
        finally:
            self.end()

    def listen(self) -> Iterator[tuple[str, str]]:
        """The answers that are complete, out of all that srun has said since the last time; waits for a moment."""
        try:
            which, line = self.heard.get(timeout=0.2)
            while True:
                if which == "err":
                    self.complaint(line)
                else:
                    whole = self.lines.take(line)
                    if whole is not None:
                        yield whole
                which, line = self.heard.get_nowait()
        except queue.Empty:
            return

    def complaint(self, line: str) -> None:
        if line.strip():
            self.said = [*self.said[-20:], line.strip()]
        for pattern in (_ENDED, _LAUNCH, _LOST):
            match = pattern.search(line)
            if match is None:
                continue
            says = match.group(2).strip() if match.lastindex == 2 else "Slurm: node failure"
            state, why = _state(says, self.said[:-1])
            for name in schedulers.expanded(match.group(1)):
                self.why.setdefault(name, (state, why))
            return

    def late(self, name: str, now: float) -> bool:
        if name in self.began:
            return now - self.began[name] > self.asked.limit + asking.GRACE
        return now - self.begun > self.asked.limit + START

    def silent(self, name: str) -> Answer:
        if name in self.began:
            return Answer(name, "silent", why=f"no answer within {self.asked.limit:g} s")
        said = self.last("error|queued|waiting") or "Slurm does not say why"
        return Answer(name, "silent", why=f"its task did not begin within {self.asked.limit + START:g} s: {said}")

    def without(self, name: str) -> Answer:
        """A node of which nothing was heard before srun ended."""
        said = self.last("error")
        if name in self.began:
            return Answer(name, "killed", why=f"srun ended before it answered{': ' + said if said else ''}")
        return Answer(name, "refused", why=f"srun: {said or f'exit status {self.process.poll()}'}")

    def last(self, words: str) -> str:
        """The last line with one of these words that srun has said."""
        lines = [re.sub(r"^srun: (error: )?", "", line) for line in self.said if re.search(words, line, re.I)]
        return lines[-1][:300] if lines else ""

    def end(self) -> None:
        """End srun, and with it what runs on the nodes: at SIGTERM it cancels its step, and the job that it made."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(asking.GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self.threads:
            thread.join(1)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None and not any(thread.is_alive() for thread in self.threads):
                stream.close()


def _state(says: str, before: Sequence[str]) -> tuple[str, str]:
    """(state, why) of what srun says of a task that ended; ``before`` is what was said until then."""
    word = re.sub(r"\s*\(core dumped\)", "", says)
    name = _SAYS.get(word)
    if name:
        return ("killed" if name == "SIGKILL" else "crashed"), name
    code = re.search(r"Exited with exit code (\d+)", says)
    if code is None:
        return ("killed" if word == "Terminated" or "failure" in word else "refused"), word
    own = [line for line in before if line.startswith("kit-node:") or "execve" in line]
    status = int(code.group(1))
    if status in (126, 127):
        return "refused", own[-1] if own else f"nothing could be started there (exit status {status})"
    answer = asking.died("", status, own[-1] if own else "")
    return answer.state, answer.why
