"""Kills repairs at every line of their journal and at random instants: ``python tests/faults.py`` prints a table.

After each fault ``undo`` runs, and the environment is compared with what it was: every file's content, mode and time,
links and folders.  ``--random N`` sets the number of random instants (default 200), ``--seed`` repeats a run.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import repairs  # noqa: E402

from kit.errors import KitError  # noqa: E402
from kit.repair import apply, undo  # noqa: E402
from kit.repair.journal import Journal, journals  # noqa: E402


class Bench:
    """An environment with something of everything that a repair may touch, and a plan that touches it."""

    def __init__(self, folder, modules=40):
        os.environ.update(PIP_CONFIG_FILE=os.devnull)
        for name in [name for name in os.environ if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"]:
            del os.environ[name]
        self.folder = Path(folder)
        shelf = self.folder / "wheels"
        old = [repairs.package(shelf, name, "1.0", modules) for name in ("alpha", "gamma", "delta")]
        repairs.package(shelf, "alpha", "2.0", modules)
        repairs.package(shelf, "beta", "1.0", modules)
        self.index = repairs.Index(shelf)
        self.place = repairs.Place(self.folder / "venv", *old, pip=True)
        site = self.place.site
        (site / "~lpha-0.9.dist-info").mkdir()
        (site / "~lpha-0.9.dist-info" / "METADATA").write_text("Name: alpha\nVersion: 0.9\n")
        (site / "~lpha").mkdir()
        (site / "~lpha" / "rest.py").write_text("")
        (site / "stray").mkdir()
        (site / "stray" / "mine.txt").write_text("a person's own")
        (site / "alpha" / "empty").mkdir()
        (site / "alpha" / "cache").mkdir()
        (site / "alpha" / "cache" / "unlisted.txt").write_text("not in RECORD")
        (site / "alpha" / "link.py").symlink_to("m0.py")
        (site / "alpha" / "folder").symlink_to("lib")
        (site / "own.pth").write_text("# a list of paths\n")
        (site / "alpha" / "lib" / "blob.bin").chmod(0o600)
        os.utime(site / "alpha" / "m1.py", ns=(10**18 + 7, 10**18 + 7))
        python = self.place.python
        self.plan = repairs.plan(
            python,
            repairs.step("rm", "-r", str(site / "~lpha-0.9.dist-info")),
            repairs.step("mv", str(site / "stray"), str(site / "stray.aside")),
            repairs.install(python, "--no-deps", "alpha==2.0", index=self.index),
            repairs.step(python, "-m", "pip", "uninstall", "--yes", "gamma"),
            repairs.install(python, "--no-deps", "beta", index=self.index),
        )
        self.before = self.place.picture()

    def apply(self, **more):
        more = {"examine": repairs.healthy, "prove": repairs.works, **more}
        return apply(self.plan, repairs.yes, more.pop("progress", None), **more)

    def undone(self):
        """Undo, and what differs then from the state before; [] where nothing does."""
        try:
            undo(python=self.place.python)
        except KitError as error:
            if "nothing to undo" not in str(error):
                raise
        left = [
            journal.state
            for journal in journals(str(self.place.folder))
            if journal.state not in ("undone", "nothing")
        ]
        return left + repairs.difference(self.before, self.place.picture())

    def child(self, work):
        """Run ``work`` in a process of its own; returns its number."""
        pid = os.fork()
        if pid:
            return pid
        status = 1
        with contextlib.suppress(BaseException):
            os.setsid()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            work()
            status = 0
        os._exit(status)

    def close(self):
        self.index.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def descendants(pid):
    """The processes below ``pid``, parents first."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                text = Path("/proc", name, "stat").read_text()
                parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def kill(pid, whom="all"):
    """SIGKILL to the repair and its pip (``all``), to the repair alone (``kit``), or to its pip alone (``pip``)."""
    below = descendants(pid)
    for one in {"all": [pid, *below], "kit": [pid], "pip": below}[whom]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def at_boundary(bench, number, after, work=None):
    """Kill the process group before or after its ``number``-th line in the journal.  False: it has fewer lines."""

    def doomed():
        line, count = Journal.line, [0]

        def counted(self, *words, **data):
            count[0] += 1
            if after:
                line(self, *words, **data)
            if count[0] == number:
                for one in (*descendants(os.getpid()), os.getpid()):
                    os.kill(one, signal.SIGKILL)
            if not after:
                line(self, *words, **data)

        Journal.line = counted
        (work or bench.apply)()

    return os.WIFSIGNALED(os.waitpid(bench.child(doomed), 0)[1])


def at_instant(bench, delay, whom, work=None):
    """Kill after ``delay`` seconds.  False: it had ended before."""
    pid = bench.child(work or bench.apply)
    end = time.monotonic() + delay
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(min(0.002, max(0, end - time.monotonic())))
    kill(pid, whom)
    os.waitpid(pid, 0)
    return True


def boundaries(bench):
    """(name, difference) for a kill before and after every line that a repair writes."""
    for after in (False, True):
        for number in range(1, 100):
            if not at_boundary(bench, number, after):
                assert number > 10, "a repair writes more lines than that"
                bench.undone()
                break
            yield f"{'after' if after else 'before'} line {number}", bench.undone()


def instants(bench, count, dice, whom):
    """(name, difference) for kills at random instants of a repair."""
    start = time.monotonic()
    bench.apply()
    length = time.monotonic() - start
    assert bench.undone() == []
    for _ in range(count):
        delay = dice.uniform(0, length * 1.05)
        at_instant(bench, delay, whom)
        yield f"{delay:.3f} s", bench.undone()


def undo_boundaries(bench):
    """(name, difference) for undo killed before and after each of its lines, and then done again."""
    for after in (False, True):
        for number in (1, 2):
            bench.apply()
            at_boundary(bench, number, after, lambda: undo(python=bench.place.python))
            yield f"undo, {'after' if after else 'before'} line {number}", bench.undone()


def undo_instants(bench, count, dice):
    """(name, difference) for undo killed at one or two random instants, and then done again."""
    bench.apply()
    start = time.monotonic()
    assert bench.undone() == []
    length = time.monotonic() - start
    for _ in range(count):
        bench.apply()
        for _ in range(dice.choice((1, 2))):
            at_instant(bench, dice.uniform(0, length), "all", lambda: undo(python=bench.place.python))
        yield "undo", bench.undone()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    bench = Bench(tempfile.mkdtemp())
    share = options.random // 10
    kinds = {
        "SIGKILL at every journal line": lambda: boundaries(bench),
        "SIGKILL at random: repair and pip": lambda: instants(bench, 6 * share, dice, "all"),
        "SIGKILL at random: repair, pip goes on": lambda: instants(bench, 2 * share, dice, "kit"),
        "SIGKILL at random: pip alone": lambda: instants(bench, share, dice, "pip"),
        "SIGKILL of undo, at its lines": lambda: undo_boundaries(bench),
        "SIGKILL of undo, at random": lambda: undo_instants(bench, share, dice),
    }
    print(f"seed {options.seed}\n| fault | times | restored exactly | seconds |\n|---|---|---|---|", flush=True)
    wrong = []
    for kind, faults in kinds.items():
        start, times = time.monotonic(), 0
        for name, difference in faults():
            times += 1
            if difference:
                wrong.append((kind, name, difference))
                print(f"  {kind}, {name}: {difference[:6]}", flush=True)
                shutil.rmtree(bench.folder, ignore_errors=True)
                bench = Bench(tempfile.mkdtemp())
        failed = sum(one[0] == kind for one in wrong)
        print(f"| {kind} | {times} | {times - failed} | {time.monotonic() - start:.0f} |", flush=True)
    bench.close()
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
