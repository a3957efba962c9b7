"""Asks the workers of a Dask cluster: one task for each host, in which the one file runs as a child process.

What crosses the network is text, numbers and functions of Python itself, so that a worker needs nothing of the kit,
and may have another Python than this one.
"""

import inspect
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from kit.collect.run import signal_name
from kit.errors import KitError
from kit.nodes.engines import asking
from kit.nodes.records import Answer, Asked, Engine, Tell

CONNECT = 15.0  # seconds to reach the scheduler
_POLL, _LOOK = 0.1, 1.0  # seconds between two looks at the tasks, and at which workers are there
_RESTART = 6.0  # seconds that a nanny may take to start its worker again, and so to be asked why it ended
_UNSEEN = 4.0  # seconds without a sign of life; workers send one every half second, of a large cluster more rarely

# On the worker, in a thread of its own.  At SIGTERM the one file ends what it has started, and then itself.
_ON_WORKER = r"""
import os, subprocess, sys, zlib

def ask(packed, argv, limit, key):
    name = os.environ.get("SLURMD_NODENAME")
    if name and "--node" in argv:
        argv = argv[:]
        argv[argv.index("--node") + 1] = name
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process = subprocess.Popen([sys.executable, "-I", "-", *argv], start_new_session=True, **pipes)
    except OSError as error:
        return "refused", f"the worker's Python cannot be started: {error.strerror}: {sys.executable}", ""
    children = sys.__dict__.setdefault("_kit_children", {})
    children[key] = process
    try:
        out, err = process.communicate(zlib.decompress(packed), timeout=limit)
        return process.returncode, out, err[-4000:]
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
        return None, b"", b""
    finally:
        children.pop(key, None)
"""
_ASK = "(exec(script, space), space['ask'](packed, argv, limit, key))[1]"
_END = "[p.terminate() for p in list(getattr(__import__('sys'), '_kit_children', {}).values())]"


def at(address: str) -> Engine:
    """The engine that asks every host of the Dask cluster whose scheduler is at ``address``.

    Options ``tls-ca-file=...``, ``tls-client-cert=...`` and ``tls-client-key=...`` are distributed's own; without
    them its configuration counts.
    """

    def engine(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
        with connected(address, security(asked.options)) as client:
            yield from ask(client, by_host(client), asked, tell)

    return engine


def connected(address: Any, tls: Any = None) -> Any:
    """A client of the cluster; KitError where nobody answers."""
    distributed = asking.needs("distributed")
    try:
        with warnings.catch_warnings():
            # That nodes have other versions is what is to be found out.
            warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
            return distributed.Client(address, timeout=CONNECT, security=tls, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise KitError(
            f"no Dask scheduler answers at {address} ({asking.one_line(error)}); start one with `dask scheduler`, or "
            "name the address that it printed"
        ) from None


def security(options: tuple[str, ...]) -> Any:
    """distributed's Security out of ``KEY=VALUE`` options; None without any."""
    given = dict(option.lstrip("-").replace("-", "_", option.count("-")).split("=", 1) for option in _tls(options))
    if not given:
        return None
    try:
        return asking.needs("distributed").Security(**given, require_encryption=True)
    except TypeError as error:
        raise KitError(f"these are no options of distributed's Security: {', '.join(given)} ({error})") from None


def _tls(options: tuple[str, ...]) -> Iterator[str]:
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.lstrip("-").replace("-", "_").startswith("tls_"):
            raise KitError(f"{option!r}: the options for a Dask cluster look like tls-ca-file=ca.pem")
        yield f"{name.lstrip('-').replace('-', '_')}={value}"


def by_host(client: Any) -> dict[str, str]:
    """The address of one worker for each host, by the node's name: that of the worker where it was given one."""
    hosts: dict[str, list[tuple[str, Any]]] = {}
    for address, worker in known(client).items():
        hosts.setdefault(_host(address), []).append((address, worker.get("name")))
    found: dict[str, str] = {}
    for host, workers in hosts.items():
        address, name = workers[0]
        own = len(workers) == 1 and isinstance(name, str) and "://" not in name and name not in found
        found[name if own else host] = address
    return found


def known(client: Any) -> Mapping[str, Any]:
    """All workers, as the scheduler knows them now.  Some releases of distributed tell of five unless asked."""
    every = {"n_workers": -1} if "n_workers" in inspect.signature(client.scheduler_info).parameters else {}
    workers: Mapping[str, Any] = client.scheduler_info(**every)["workers"]
    return workers


def _host(address: str) -> str:
    return re.sub(r"^\w+://", "", address).rpartition(":")[0].strip("[]")


def ask(client: Any, addresses: Mapping[str, str], asked: Asked, tell: Optional[Tell]) -> Iterator[Answer]:
    """Ask the worker at each address once; every node gives one answer, whatever happens to it."""
    if not addresses:
        raise KitError("the Dask cluster has no workers; start one on every node with `dask worker ADDRESS`")
    wanted = asking.chosen(asked, list(addresses))
    for name in [name for name in wanted if name not in addresses]:
        yield Answer(name, "refused", why="the Dask cluster has no worker of this name")
    wanted = [name for name in wanted if name in addresses]
    asking_all = _Asking(client, {name: addresses[name] for name in wanted}, asked)
    total = len(wanted)
    try:
        while asking_all.pending:
            if tell is not None:
                tell("asking the nodes", total - len(asking_all.pending), total)
            yield from asking_all.look()
            time.sleep(_POLL)
        if tell is not None:
            tell("asking the nodes", total, total)
    finally:
        asking_all.end()


class _Asking:
    """The tasks that were handed in, and which of them gave no answer yet."""

    def __init__(self, client: Any, addresses: Mapping[str, str], asked: Asked):
        self.client, self.addresses, self.asked = client, dict(addresses), asked
        self.seen: Mapping[str, Any] = {}
        self.gone: dict[str, float] = {}  # when a node's worker was missed
        self.pending = {name: self.submit(name, address) for name, address in addresses.items()}
        self.begun = self.looked = time.monotonic()

    def submit(self, name: str, address: str) -> Any:
        key = f"kit-node-{name}-{time.monotonic_ns()}"
        given = {
            "script": _ON_WORKER,
            "space": {},
            "packed": asking.packed(),
            "argv": asking.arguments(self.asked, name),
            "limit": self.asked.limit + asking.GRACE / 2,
            "key": key,
        }
        # Python's own eval: a function of ours, sent by value, is byte code that only the same Python reads.
        return self.client.submit(
            eval, _ASK, given, key=key, workers=[address], allow_other_workers=False, pure=False, priority=100
        )

    def look(self) -> Iterator[Answer]:
        """The answers that have come since the last look."""
        for name, future in list(self.pending.items()):
            if future.done():
                del self.pending[name]
                yield self.result(name, future)
        now = time.monotonic()
        if now - self.looked > _LOOK:
            self.looked, self.seen = now, known(self.client)
            for name in [n for n in self.pending if self.addresses[n] not in self.seen]:
                since = self.gone.setdefault(name, now)
                again = self.restarted(name)
                if not self.pending[name].done() and (again or now - since > _RESTART):
                    self.pending.pop(name).cancel()
                    yield self.lost(name, again)
        if now - self.begun > self.asked.limit + 2 * asking.GRACE:
            for name, future in list(self.pending.items()):
                del self.pending[name]
                future.cancel()
                yield Answer(name, "silent", why=self.hangs(name))

    def result(self, name: str, future: Any) -> Answer:
        if future.status == "finished":
            status, out, err = future.result()
            if isinstance(status, str):
                return Answer(name, status, why=out)
            return asking.ended(name, status, out, err, self.asked)
        error = future.exception() if future.status == "error" else None
        if type(error).__name__ == "KilledWorker" or error is None:
            return self.lost(name)
        return Answer(name, "refused", why=f"its worker cannot do what it is asked: {asking.one_line(error)}")

    def restarted(self, name: str) -> Optional[str]:
        """The address of the worker that a nanny has started on the same host in its place."""
        host, others = _host(self.addresses[name]), set(self.addresses.values())
        return next((a for a in self.seen if _host(a) == host and a not in others), None)

    def lost(self, name: str, again: Optional[str] = None) -> Answer:
        """The worker has left the cluster; why, its nanny may know."""
        number = _signal(self.client, again) if again else 0
        crashed = number in (4, 6, 7, 8, 11)  # SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV
        how = f"{signal_name(-number)}: " if number else ""
        why = how + "its Dask worker ended while it was asked"
        return Answer(name, "crashed" if crashed else "killed", why=why)

    def hangs(self, name: str) -> str:
        limit = f"no answer within {self.asked.limit:g} s"
        last = _seen(self.seen.get(self.addresses[name], {}))
        unseen = time.time() - last if last else 0.0
        if unseen > _UNSEEN:
            what = "its Dask worker hangs or the node is unreachable"
            return f"{limit}: {what}, without a sign of life for {unseen:.0f} s"
        return f"{limit}: its Dask worker is alive and has not finished; it may be busy with other tasks"

    def end(self) -> None:
        """Cancel what is not done, and end the children that still run, on workers that give a sign of life."""
        if not self.pending:
            return
        for future in self.pending.values():
            future.cancel()
        now, there = time.time(), known(self.client)
        addresses = [self.addresses[name] for name in self.pending]
        alive = [a for a in addresses if a in there and now - _seen(there[a]) < _UNSEEN]
        if alive:
            self.client.run(eval, _END, workers=alive, on_error="ignore")


def _seen(worker: Mapping[str, Any]) -> float:
    """When the scheduler has last heard of a worker."""
    return float(worker.get("last_seen") or 0)


def _signal(client: Any, address: str) -> int:
    """The number of the signal that ended the worker before this one, as its nanny has logged it; else 0."""
    try:
        logs = client.sync(
            client.scheduler.worker_logs, n=50, workers=[address], nanny=True, callback_timeout=_RESTART
        )
    except (OSError, TimeoutError, ValueError, KeyError):
        return 0  # no nanny, or gone with its node
    said = [str(row[-1]) for rows in (logs or {}).values() if isinstance(rows, (list, tuple)) for row in rows]
    found = [re.search(r"was killed by signal (\d+)", text) for text in said]
    numbers = [int(match.group(1)) for match in found if match]
    return numbers[-1] if numbers else 0
