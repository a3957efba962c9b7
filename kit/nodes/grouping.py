"""Puts nodes whose facts are equal into groups, and says what stands out: a pure function of the answers.

Of many equal nodes the facts are decoded and diagnosed once, so that thousands of nodes take seconds.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Optional

from kit import redact
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import Facts
from kit.nodes import names, outliers, sameness
from kit.nodes.baseline import Baseline
from kit.nodes.difference import changes, tree
from kit.nodes.records import STATES, Answer, Failed, Group, Nodes, Silent, reason

_LATER = re.compile(r"\d+ s, and (\S+ s) were given")  # how late each was would make a row of each
TWICE = "gave two different answers under one name"


def group(
    answers: Iterable[Answer],
    *,
    gpu: Optional[str] = None,
    baseline: Optional[Baseline] = None,
    expected: Iterable[str] = (),
    missing: str = "no answer came",
) -> Nodes:
    """Groups of equal nodes, the largest first, and the nodes that stand out.

    The answers are read one after the other, and their order does not matter.  ``gpu`` is a compute capability to
    diagnose for; of the nodes that are ``expected`` those without an answer are silent, for the
    reason ``missing``.
    """
    gathered = Gathered()
    for answer in answers:
        gathered.add(answer)
    for node in expected:
        if node not in gathered.seen:
            gathered.silent["silent", missing].add(node)
    return gathered.nodes(gpu, baseline)


class Gathered:
    """What is kept of the answers while they come: names, and each text of facts once."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = defaultdict(set)  # the digests of what a node answered; '' without facts
        self.texts: dict[str, str] = {}
        self.silent: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.failed: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.measured: list[outliers.Measured] = []

    def add(self, answer: Answer) -> None:
        """One more answer."""
        if answer.state not in STATES:
            raise KitError(f"{answer.node}: unknown state {answer.state!r}; there are {', '.join(STATES)}")
        data = answer.data if answer.facts is None else answer.facts.to_dict()
        state, why = answer.state, redact.text(_LATER.sub(r"more than the \1 that were given", answer.why))
        mark = ""
        if state in ("answered", "late"):
            try:
                if data is None:
                    raise KitError("it answered without facts")
                text = sameness.comparable(data, answer.node)
                mark = sameness.digest(text)
                self.texts.setdefault(mark, text)
            except KitError as error:
                state, why = "unreadable", reason(error)
        if state != "answered" or why:
            self.silent[state, why].add(answer.node)
        self.seen[answer.node].add(mark)
        self._checked(answer)

    def _checked(self, answer: Answer) -> None:
        """What the active checks said: what failed, and what was measured."""
        try:
            for check in (answer.verified or {}).get("checks", ()):
                if check["ok"] is False:
                    self.failed[str(check["name"]), redact.text(str(check["detail"]))].add(answer.node)
        except (AttributeError, KeyError, TypeError):
            self.failed["verify", "its answer cannot be read"].add(answer.node)
        rows = answer.measured
        for row in rows if isinstance(rows, list) else [] if rows is None else [rows]:
            if not isinstance(row, dict):
                self.failed["bench", "its answer cannot be read"].add(answer.node)
            elif row.get("why"):
                self.failed["bench", redact.text(str(row["why"]))].add(answer.node)
            else:
                self.measured += outliers.measured(answer.node, row)

    def nodes(self, gpu: Optional[str], baseline: Optional[Baseline]) -> Nodes:
        """Diagnose each group once, and compare the groups with the first of them and with the baseline."""
        alike: dict[str, tuple[Facts, str]] = {}
        mean: dict[str, str] = {"": ""}  # the digest of a text as it came: that of the facts in it
        for mark, text in self.texts.items():
            try:
                facts = Facts.from_dict(json.loads(text))
            except KitError as error:
                wrong = names.ordered(node for node, marks in self.seen.items() if mark in marks)
                self.silent["unreadable", redact.text(reason(error))].update(wrong)
                mean[mark] = ""
                continue
            facts = Facts.from_dict(_redact(facts.to_dict()))
            text = sameness.comparable(facts.to_dict())
            mean[mark] = sameness.digest(text)
            alike[mean[mark]] = facts, text
        members = defaultdict(list)
        for node, marks in self.seen.items():
            meant = {mean[mark] for mark in marks}
            if len(meant) > 1:
                self.silent["unreadable", TWICE].add(node)
            for mark in meant.difference({""}):
                members[mark].append(node)
        rows = []
        for mark, (facts, text) in alike.items():
            found = diagnose(facts.with_gpu(gpu) if gpu else facts).findings
            rows.append((Group(names.ordered(members[mark]), facts, found), text))
        rows.sort(key=lambda row: _order(row[0]))
        first = tree(json.loads(rows[0][1])) if rows else {}
        groups = [
            Group(g.nodes, g.facts, g.findings, changes(first, tree(json.loads(text))) if i else ())
            for i, (g, text) in enumerate(rows)
        ]
        return Nodes(
            tuple(groups),
            tuple(Silent(names.ordered(found), *key) for key, found in sorted(self.silent.items(), key=_largest)),
            baseline.drift(groups) if baseline else (),
            outliers.outliers(self.measured),
            tuple(Failed(*key, names.ordered(found)) for key, found in sorted(self.failed.items(), key=_largest)),
            baseline.name if baseline else None,
        )


_redact = redact.redactor("", "", "")  # credentials and tokens: of names only the node itself knows


def _order(group: Group) -> Any:
    """The largest group first; of equally large ones a healthy one, then by name."""
    return -len(group.nodes), group.verdict == "broken", [names.natural(node) for node in group.nodes]


def _largest(item: tuple[tuple[str, str], set[str]]) -> Any:
    return -len(item[1]), sorted(map(names.natural, item[1])), item[0]
