"""Mended recipes: the edits of their faults put together, shown as a diff, and written with a backup."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Optional

from kit.errors import KitError
from kit.recipes.checking import Checked, File, check_text, once
from kit.recipes.edits import overlap, put, touch, unified
from kit.recipes.faults import Fault, shown
from kit.recipes.reading.files import contents, decoded
from kit.record import Record

ROUNDS = 8  # after each the rules look again: an edit may have settled another, or called for one


class Diff(Record):
    """A unified diff of each file that changes, as it may be shown: without secrets."""

    parts: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return "".join(text for _, text in self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


class Change(Record):
    """A file before and after.  Of the faults that have an edit, ``applied`` are those of which it was made, and
    ``settled`` those that others' edits took away; ``followed`` came up, and were mended, only after that.
    ``backup`` is where the old text lies, ``why`` why the new one could not be written."""

    before: File
    after: File
    applied: tuple[Fault, ...] = ()
    followed: tuple[Fault, ...] = ()
    settled: tuple[Fault, ...] = ()
    backup: str = ""
    why: str = ""

    @property
    def differs(self) -> bool:
        return self.before.text != self.after.text

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.before.name,
            "mended": len(self.applied) + len(self.followed) + len(self.settled),
            "diff": _diff(self),
            "backup": self.backup or None,
            "why": self.why or None,
        }


class Fixed(Record):
    """Files with their edits, and checked again.  ``state``: ``proposed``, ``refused``, ``written``; ``nothing``
    where there is no edit to make."""

    changes: tuple[Change, ...]
    checked: Checked
    everything: bool = False
    state: str = "proposed"

    @property
    def steps(self) -> tuple[Fault, ...]:
        """The faults that these edits mend."""
        return tuple(fault for change in self.changes for fault in (*change.applied, *change.followed))

    @property
    def texts(self) -> dict[str, str]:
        """Each file's text with its edits, secrets and all."""
        return {change.before.name: change.after.text for change in self.changes}

    @property
    def diff(self) -> Diff:
        return Diff(tuple((c.before.name, _diff(c)) for c in self.changes if c.differs))

    @property
    def left(self) -> Checked:
        """What the files say now, where they were written, else what they will say."""
        now = [c.before if self.state != "proposed" and c.differs and not c.backup else c.after for c in self.changes]
        return Checked(tuple(once(now)), self.checked.wish, self.checked.guarded, self.checked.asked)

    def to_dict(self) -> dict[str, Any]:
        return {**self.left.to_dict(), "fixed": [change.to_dict() for change in self.changes if change.differs]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def _diff(change: Change) -> str:
    lines = unified(change.before.name, change.before.text, change.after.text).split("\n")
    return "\n".join(shown(line).rstrip("\r") for line in lines)


def propose(checked: Checked, everything: bool = False) -> Fixed:
    """The safe edits of all files, or every edit, put together.  Nothing is written."""

    def again(file: File, text: str) -> File:
        return check_text(text, file.name, checked.wish, checked.guarded, file.path)

    changes = tuple(mended(file, partial(again, file), everything) for file in checked.files)
    return Fixed(changes, checked, everything, "proposed" if any(c.differs for c in changes) else "nothing")


def fix(checked: Checked, confirm: Callable[[Fixed], bool], everything: bool = False) -> Fixed:
    """Show the edits to ``confirm``, and where it says yes, write them; each file's old text stays beside it."""
    proposed = propose(checked, everything)
    if proposed.state == "nothing":
        return proposed
    if not confirm(proposed):
        return _with(proposed, proposed.changes, "refused")
    changes = tuple(_written(change) if change.differs else change for change in proposed.changes)
    return _with(proposed, changes, "written")


def _with(fixed: Fixed, changes: Iterable[Change], state: str) -> Fixed:
    return Fixed(tuple(changes), fixed.checked, fixed.everything, state)


# -- edits put together


def mended(file: File, again: Callable[[str], File], everything: bool = False) -> Change:
    """Make the edits of a file's faults, those that do not meet first, and look ``again`` after each round."""
    now, texts, planned, done = file, {file.text}, Counter[Any](), Counter[Any]()
    applied: list[Fault] = []
    for _ in range(ROUNDS):
        wanted = [fault for fault in now.faults if fault.edits and (everything or fault.safe)]
        for key, number in Counter(map(_key, wanted)).items():
            planned.setdefault(key, number)
        taken = list(_fitting(fault for fault in wanted if done[_key(fault)] < planned[_key(fault)]))
        made, after = _tried(now, taken, again)
        for fault in taken:
            done[_key(fault)] += 1
        if after.text in texts and made:
            break
        applied += made
        now = after
        texts.add(now.text)
        if not taken:
            break
    wanted = [fault for fault in file.faults if fault.edits and (everything or fault.safe)]
    waiting, followed = list(wanted), []
    for fault in applied:
        same = next((one for one in waiting if _key(one) == _key(fault)), None)
        if same is None:
            followed.append(fault)
        else:
            waiting.remove(same)
    left = Counter(map(_key, now.faults))
    settled = tuple(fault for fault in waiting if not left[_key(fault)])
    mine = tuple(fault for fault in wanted if not any(fault is one for one in waiting))
    return Change(file, now, mine, tuple(followed), settled)


def _key(fault: Fault) -> tuple[Any, ...]:
    """What a fault is known by when its place has moved."""
    return (fault.rule, fault.package, fault.title, *(edit.new for edit in fault.edits))


def _fitting(faults: Iterable[Fault]) -> Iterator[Fault]:
    """The faults whose edits meet no edit of one before; an edit that two have in common is made once.  A rule knows
    what else it says of a file: of its own edits, two may stand side by side.  What takes the most away comes first:
    another edit of that part would be lost."""
    made: list[Fault] = []
    for fault in sorted(faults, key=_taken_away, reverse=True):
        if not any(_meet(fault, other) for other in made):
            made.append(fault)
            yield fault


def _taken_away(fault: Fault) -> int:
    return sum(edit.span.end - edit.span.start for edit in fault.edits)


def _meet(fault: Fault, other: Fault) -> bool:
    meet = overlap if fault.rule == other.rule else touch
    return any(meet(one, another) for one in fault.edits for another in other.edits)


def _tried(file: File, faults: list[Fault], again: Callable[[str], File]) -> tuple[list[Fault], File]:
    """The file with these edits.  One that leaves a text which cannot be read is not made."""
    if not faults:
        return [], file
    after = _again(put(file.text, [edit for fault in faults for edit in fault.edits]), again)
    if after is not None and len(after.unread) <= len(file.unread):
        return faults, after
    if len(faults) == 1:
        return [], file
    good = [fault for fault in faults if _tried(file, [fault], again)[0]]
    return _tried(file, good, again) if len(good) < len(faults) else ([], file)


def _again(text: str, again: Callable[[str], File]) -> Optional[File]:
    try:
        return again(text)
    except KitError:  # what was a recipe is none any more
        return None


# -- writing


def _written(change: Change) -> Change:
    try:
        backup = write(change.before, change.after.text)
    except KitError as error:
        return Change(change.before, change.after, why=str(error))
    return Change(change.before, change.after, change.applied, change.followed, change.settled, backup)


def write(file: File, text: str) -> str:
    """Replace a file's text at once and whole, keep the old beside it, and return where.  KitError where the file is
    not as it was read, or cannot be written; then it is left alone."""
    if file.path is None:
        raise KitError(f"{file.name} is no file: its new text is in .texts")
    path = os.path.realpath(file.path)
    new = _encoded(file, text)
    _unchanged(file, path)
    if not os.access(path, os.W_OK):
        raise KitError(f"{file.name} may not be written, so it is left alone")
    part, backup = "", ""
    try:
        number, part = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
        with open(number, "wb") as stream:
            stream.write(new)
            stream.flush()
            os.fsync(stream.fileno())
        _like(path, part)
        backup = _backup(path, file.raw)
        _unchanged(file, path)
        os.replace(part, path)
    except OSError as error:
        _remove(part, backup)
        raise KitError(f"{file.name} cannot be written: {error.strerror or error}; it is as it was") from None
    except KitError:
        _remove(part, backup)
        raise
    return os.path.join(os.path.dirname(file.path), os.path.basename(backup))


def _encoded(file: File, text: str) -> bytes:
    """The bytes of a new text in the encoding of the old one."""
    _, mark, encoding = decoded(file.raw)
    try:
        if mark + file.text.encode(encoding) == file.raw:
            return mark + text.encode(encoding)
    except UnicodeEncodeError:
        pass
    raise KitError(f"{file.name} is in another encoding than UTF-8, so it is left alone: edit it by hand")


def _unchanged(file: File, path: str) -> None:
    if contents(path) != file.raw:
        raise KitError(f"{file.name} has changed since it was read, so it is left alone: check it again")


def _backup(path: str, raw: bytes) -> str:
    """Keep the old text under a name that nothing has."""
    number = 0
    while True:
        backup = f"{path}.orig{f'.{number}' if number else ''}"
        with suppress(FileExistsError):
            with open(backup, "xb") as stream:
                stream.write(raw)
            _like(path, backup)
            return backup
        number += 1


def _like(path: str, copy: str) -> None:
    """Give a copy the mode and, where that is allowed, the owner of a file."""
    old = os.stat(path)
    if hasattr(os, "chown"):
        with suppress(PermissionError):  # who may write a file of somebody else makes it their own
            os.chown(copy, old.st_uid, old.st_gid)
    shutil.copymode(path, copy)


def _remove(*paths: str) -> None:
    for path in filter(None, paths):
        with suppress(FileNotFoundError):
            os.unlink(path)
