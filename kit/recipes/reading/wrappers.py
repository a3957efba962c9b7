"""Programs that run another program: ``sudo``, ``env``, ``conda run``, ``bash -c``."""

import re
from collections.abc import Sequence
from typing import Optional

# The options of each that take a value in the next word.
_VALUES = {
    "sudo": {"-u", "--user", "-g", "--group", "-h", "--host", "-p", "--prompt", "-C", "-D", "-R", "-T", "-U"},
    "env": {"-u", "--unset", "-C", "--chdir", "-S"},
    "timeout": {"-s", "--signal", "-k", "--kill-after"},
    "nice": {"-n", "--adjustment"},
    "ionice": {"-c", "-n", "-p"},
    "xargs": {"-n", "-I", "-L", "-P", "-a", "-d", "-s", "-E"},
    "time": {"-f", "-o"},
    "gosu": set(),
    "run": {"-n", "--name", "-p", "--prefix", "--cwd"},
    "nohup": set(),
    "exec": {"-a"},
    "command": set(),
    "stdbuf": {"-i", "-o", "-e"},
    "retry": set(),
    "eatmydata": set(),
    "srun": {"-n", "-N", "-c", "-p", "-A", "-t", "-J", "-w"},
    "chroot": set(),
    "apptainer": {"-B", "--bind", "--env", "--env-file", "-H", "--pwd", "-W"},
}
# Those whose first argument is theirs: a time, a user, a folder.
_OWN = {"timeout": 1, "gosu": 1, "chroot": 1}
_CONDAS = ("conda", "mamba", "micromamba")
_SHELLS = ("sh", "bash", "zsh", "dash", "ash", "ksh")


def name(word: str) -> str:
    """``/usr/bin/pip3.11`` -> ``pip3.11``."""
    return word.rpartition("/")[2]


def inner(words: Sequence[str]) -> int:
    """Where the program begins that a command comes to in the end: 2 for ``sudo -E pip install``."""
    at = 0
    while at < len(words):
        program = name(words[at])
        if program in _CONDAS and at + 1 < len(words) and words[at + 1] == "run":
            program, at = "run", at + 1
        elif program not in _VALUES or program in ("run", "apptainer"):
            return at
        after = _skipped(words, at + 1, program)
        if after >= len(words):
            return at
        at = after
    return 0


def environment(words: Sequence[str]) -> Optional[str]:
    """The name or folder of the environment in ``conda run -n NAME``."""
    for at, word in enumerate(words[:-1]):
        if name(word) in _CONDAS and words[at + 1] == "run":
            for option, value in zip(words[at + 2 :], words[at + 3 :]):
                if option in ("-n", "--name", "-p", "--prefix"):
                    return value
    return None


def _skipped(words: Sequence[str], at: int, program: str) -> int:
    left = _OWN.get(program, 0)
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word.startswith("-") and len(word) > 1:
            at += 2 if word in _VALUES[program] else 1
        elif program in ("env", "sudo") and re.match(r"[A-Za-z_]\w*=", word):
            at += 1
        elif left:
            left, at = left - 1, at + 1
        else:
            break
    return at


def script_of(words: Sequence[str]) -> Optional[int]:
    """The place of the word that is a script: 2 of ``bash -c SCRIPT``; the number of words where the script comes on
    standard input (``bash -e <<EOF``); None where there is none."""
    at = inner(list(words))
    program = name(words[at]) if at < len(words) else ""
    if program == "eval":
        return at + 1 if len(words) == at + 2 else None
    if program == "su":
        return next((i + 1 for i in range(at, len(words) - 1) if words[i] in ("-c", "--command")), None)
    if program not in _SHELLS:
        return None
    at += 1
    command = False
    while at < len(words) and words[at][:1] in ("-", "+") and len(words[at]) > 1:
        short = words[at][:2] != "--"
        command = command or (short and "c" in words[at])
        at += 2 if short and words[at].endswith(("o", "O")) else 1
    if command:
        return at if at < len(words) else None
    return len(words) if at >= len(words) or words[at] == "-s" else None
