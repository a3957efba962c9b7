"""A Slurm with three nodes on this machine, for tests: its daemons are started, and ended by their process ids."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "sinfo")
NODES = ("node1", "node2", "node3")
START = 30  # seconds

# One machine is three nodes, each with a slurmd of its own on another port.  Nothing is accounted for, no task is
# bound to a core, and nobody else's configuration is touched: SLURM_CONF names this one.
CONFIGURATION = """\
ClusterName=kit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=3
PartitionName=main Nodes={nodes} Default=YES MaxTime=60 State=UP OverSubscribe=FORCE:8
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=3000 State=UNKNOWN\n"


def missing() -> list[str]:
    """The programs of Slurm and munge that are not here."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Slurm:
    """A running Slurm; ``env`` is what its commands need in their environment."""

    def __init__(self, root: Path) -> None:
        self.root, self.processes = root, []
        self.env = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
        self.env["PATH"] = os.pathsep.join([self.env.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

    def __enter__(self) -> "Slurm":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.root.chmod(0o755)
        host, ports = socket.gethostname(), free_ports(len(NODES) + 1)
        text = CONFIGURATION.format(host=host, controller=ports[0], root=self.root, nodes=",".join(NODES))
        for node, port in zip(NODES, ports[1:]):
            text += NODE.format(node=node, host=host, port=port)
            (self.root / node).mkdir()
        (self.root / "state").mkdir()
        (self.root / "slurm.conf").write_text(text)
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o400)
        munge = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        options = [f"--{name}={self.root}/munge.{name.partition('-')[0]}" for name in munge]
        self.run("munged", "--foreground", "--force", "--num-threads=2", *options)
        self.wait(lambda: (self.root / "munge.socket").exists(), "munged")
        self.run("slurmctld", "-D", "-i")
        self.wait(lambda: self.ask("sinfo", "-h").returncode == 0, "slurmctld")
        for node in NODES:
            self.run("slurmd", "-D", "-N", node)
        self.wait(self.idle, "slurmd")

    def idle(self) -> bool:
        """Whether every node waits for work, and answers."""
        return self.ask("sinfo", "-h", "-N", "-o", "%T").stdout.split() == ["idle"] * len(NODES)

    def run(self, *argv: str) -> None:
        log = (self.root / f"{argv[0]}-{len(self.processes)}.out").open("wb")
        program = shutil.which(argv[0], path=self.env["PATH"])
        with log:
            process = subprocess.Popen(
                [program, *argv[1:]], env=self.env, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.processes.append(process)

    def ask(self, *argv: str, **options) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, **options)

    def wait(self, ready, what: str) -> None:
        end = time.monotonic() + START
        while not ready():
            ended = [p.args[0] for p in self.processes if p.poll() is not None]
            assert not ended and time.monotonic() < end, f"{what} does not start: {ended}\n{self.said()}"
            time.sleep(0.1)

    def said(self) -> str:
        files = [*self.root.glob("*.out"), *self.root.glob("*.log")]
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files)

    def stop(self) -> None:
        """End the jobs, then every daemon and what it left behind, by process id."""
        if len(self.processes) > 1:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.ask("scancel", "--state=PENDING", "--user=root")
                self.ask("scancel", "--user=root")
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left(self) -> list[int]:
        """The processes that have this Slurm's configuration in their environment: its steps, and what they run."""
        found, mark = [], f"SLURM_CONF={self.root}/".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
        return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()
