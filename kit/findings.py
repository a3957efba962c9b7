"""What a diagnosis says: records of a finding, a fix and what the fix costs, and their JSON."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Optional

from kit.facts import Facts
from kit.record import Record

SEVERITIES = ("error", "warning", "note")
SAFETIES = ("safe", "changes-environment", "manual")

FIX_KINDS = frozenset(
    [
        "install-matching-wheel",
        "rebuild-extension",
        "change-torch",
        "update-driver",
        "expose-gpu",
        "fix-loader-path",
        "install-toolchain",
        "disable-build-isolation",
        "fix-url",
        "change-package-version",
        "uninstall-package",
        "use-replacement",
        "change-python",
        "restart-kernel",
        "use-kernel-pip",
        "change-code-or-data",
        "nothing",
        "report-upstream",
    ]
)


class Cost(Record):
    """What a fix costs: seconds and megabytes (None: unknown), a kernel restart, and whether it can be undone."""

    seconds: Optional[int] = None
    download_mb: Optional[int] = None
    restart: bool = False
    undo: bool = False


class Fix(Record):
    """One thing that helps.  ``why`` is a sentence for a person; ``argv`` runs without a shell, ``env`` added."""

    kind: str
    why: str
    argv: Optional[tuple[str, ...]] = None
    env: Mapping[str, str] = field(default_factory=dict)
    safety: str = "manual"
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        if self.kind not in FIX_KINDS:
            raise ValueError(f"unknown fix kind: {self.kind!r}")
        if self.safety not in SAFETIES:
            raise ValueError(f"unknown safety: {self.safety!r}")

    def command(self) -> Optional[str]:
        """The command as a person types it in a POSIX shell, or None for a manual fix."""
        if self.argv is None:
            return None
        return " ".join(
            [f"{name}={quote(value)}" for name, value in self.env.items()] + [quote(a) for a in self.argv]
        )


class Finding(Record):
    """One failure, found.  The first sentence of ``summary`` is its title.

    Each item of ``evidence`` is ``"what was read: what it said"``.  ``fix`` is best first, at most three.
    """

    failure: str
    severity: str
    package: Optional[str]
    summary: str
    evidence: tuple[str, ...] = ()
    fix: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"unknown severity: {self.severity!r}")

    @property
    def title(self) -> str:
        return self.summary.partition(". ")[0].rstrip(".")

    @property
    def rest(self) -> str:
        """The summary after its title."""
        return self.summary.partition(". ")[2]

    def to_dict(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        data["evidence"] = list(self.evidence)
        data["fix"] = [{**fix, "argv": None if fix["argv"] is None else list(fix["argv"])} for fix in data["fix"]]
        return data


class Findings(Record):
    """A diagnosis: findings with the worst and the root causes first, and the facts that they rest on."""

    facts: Facts
    findings: tuple[Finding, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, failure: str) -> Finding:
        """The first finding of this failure id."""
        for finding in self.findings:
            if finding.failure == failure:
                return finding
        raise KeyError(failure)

    @property
    def verdict(self) -> str:
        """``broken`` where an error or a warning was found; a note alone leaves an environment ``healthy``."""
        return "broken" if any(f.severity != "note" for f in self.findings) else "healthy"

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "verdict": self.verdict,
            "findings": [finding.to_dict() for finding in self.findings],
            "facts": self.facts.to_dict(),
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def quote(word: str) -> str:
    """``word`` quoted for a POSIX shell; a leading ``~/`` stays unquoted so that the shell expands it."""
    import shlex

    return "~/" + quote(word[2:]) if word.startswith("~/") and len(word) > 2 else shlex.quote(word)
