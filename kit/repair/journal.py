"""What an environment held before a repair, kept on disk so that it can be brought back at any moment.

One repair is one folder, ``PREFIX/.kit/ID/``: ``journal.jsonl`` with a line before each change, and for each change
what the environment was (``1.json``) and the files that it may replace (``1/``).
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable
from typing import Any, Callable, Optional

from kit.errors import KitError
from kit.record import Record
from kit.repair.tree import (
    FOLDER,
    LEFT_OUT,
    Entry,
    ancestors,
    append,
    bring_back,
    inside,
    keep,
    look,
    move_back,
    remove,
    restamp,
    same,
    strays,
    sync,
    walk,
)

RESERVE = 128 * 1024  # bytes that undo can free first: the journal's last lines need room on a full disk

Tell = Callable[[int, int], None]


class Scope(Record):
    """What a step may touch, in absolute paths whose folders have no links.

    ``tops`` are the folders where packages and scripts lie, ``old`` the files of what is replaced, ``new`` those of
    what is installed.
    """

    tops: tuple[str, ...] = ()
    old: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()


class Journal:
    """The record of one repair.  The lock is the caller's affair."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.id = os.path.basename(folder)
        self.root = os.path.dirname(os.path.dirname(folder))

    @classmethod
    def begin(cls, root: str, **about: Any) -> "Journal":
        """A new repair of the environment at ``root``."""
        name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(2)
        journal = cls(os.path.join(root, FOLDER, name))
        os.makedirs(os.path.join(journal.folder, "tmp"))
        with open(os.path.join(journal.folder, "reserve"), "wb") as stream:
            stream.write(os.urandom(RESERVE))
        journal.line("begin", started=time.time(), **about)
        return journal

    def line(self, event: str, **data: Any) -> None:
        """Add a line, and have it on the disk before this returns.  A torn line from before does not touch it."""
        append(os.path.join(self.folder, "journal.jsonl"), json.dumps({"event": event, **data}).encode())

    def events(self) -> list[dict[str, Any]]:
        """The lines in order; what was torn as the process was killed is left out."""
        found = []
        file = os.path.join(self.folder, "journal.jsonl")
        with contextlib.suppress(FileNotFoundError), open(file, "rb") as stream:
            for text in stream:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(text))
        return found

    @property
    def state(self) -> str:
        """``nothing`` (no change was begun), ``interrupted``, ``applied`` or ``undone``."""
        names = [event["event"] for event in self.events()]
        if "undone" in names:
            return "undone"
        if "done" in names and "undoing" not in names:
            return "applied"
        return "interrupted" if "change" in names else "nothing"

    def keep(self, change: str, scope: Scope, tell: Optional[Tell] = None) -> None:
        """Write down what lies in the scope, and keep every file that may be replaced or removed in a change."""
        tree = {self.root: look(self.root) or ["other"], **walk(scope.tops)}
        paths = sorted(scope.old | scope.new)
        for path in (*map(os.path.dirname, scope.tops), *paths):
            for one in (path, *ancestors(path)):
                if one in tree:
                    break
                entry = look(one)
                if entry is not None:
                    tree[one] = entry
        tree.update({path: look(path) or ["other"] for path in strays(paths, self.root) - set(tree)})
        place = os.path.join(self.folder, change)
        os.mkdir(place)
        files = [path for path in paths if tree.get(path, [""])[0] == "file"]
        for number, path in enumerate(files):
            if tell and number % 500 == 0:
                tell(number, len(files))
            keep(path, os.path.join(place, str(number)))
        sync(place)
        scoped = {"tops": scope.tops, "old": sorted(scope.old), "new": sorted(scope.new), "root": self.root}
        kept = {path: number for number, path in enumerate(files)}
        self._write(f"{change}.json", {"tree": tree, "kept": kept, "scope": scoped})

    def begin_change(self, change: str, **about: Any) -> None:
        """From here on, what was kept for this change is brought back by :meth:`undo`."""
        self.line("change", change=change, **about)

    def move(self, change: str, source: str, target: str) -> None:
        """Move a file or folder within one device; :meth:`undo` moves it back.  Raises OSError."""
        times = {folder: look(folder) for folder in (os.path.dirname(source), os.path.dirname(target))}
        self._write(f"{change}.json", {"source": source, "target": target, "times": times})
        self.begin_change(change, source=source, target=target)
        os.rename(source, target)

    def finish(self, **about: Any) -> None:
        """The repair is complete: note what it made, drop what it turned out not to replace, and the wheels."""
        self._write("after.json", self._now())
        self.line("done", **about)
        for change in self._changes():
            for path, number in self._read(f"{change}.json").get("kept", {}).items():
                file = os.path.join(self.folder, change, str(number))
                with contextlib.suppress(OSError):
                    if os.path.samefile(file, path):
                        os.unlink(file)
        self._drop("tmp", "wheels", "pip", "reserve")

    def conflicts(self) -> list[str]:
        """What the finished repair made or changed and is not so any more, and what was put there since."""
        after: dict[str, Optional[Entry]] = self._read("after.json")
        now = {**{path: look(path) for path in after}, **self._now()}
        changed = [path for path in now if not same(now[path], after.get(path))]
        for change in self._changes():
            move = self._read(f"{change}.json")
            if "target" in move:
                source, target = move["source"], move["target"]
                ours = any(path == source or path.startswith(source + os.sep) for path in after)
                changed += [target] if not os.path.lexists(target) else []
                changed += [source] if os.path.lexists(source) and not ours else []
        return sorted(set(changed))

    def _now(self) -> dict[str, Optional[Entry]]:
        """What lies now wherever this repair may have made, changed or removed a file."""
        found: dict[str, Optional[Entry]] = {}
        for change in self._changes():
            before = self._read(f"{change}.json")
            found.update(_touched(before) if "tree" in before else {})
        return found

    def _changes(self) -> list[str]:
        return [event["change"] for event in self.events() if event["event"] == "change"]

    def undo(self, force: bool = False, tell: Optional[Tell] = None) -> list[str]:
        """Bring back what was; may be killed and done again.  Returns what could not be brought back, and why.

        Raises KitError where a finished repair's files were changed since, unless ``force``.
        """
        state = self.state
        if state == "undone":
            return []
        if state == "applied" and not force:
            changed = self.conflicts()
            if changed:
                shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
                raise KitError(
                    f"changed since the repair: {shown}; undo would lose that, and does so with --force alone"
                )
        self._drop("reserve", "wheels", "tmp", "pip")
        with contextlib.suppress(OSError):  # a full disk must not stop it
            self.line("undoing")
        notes: list[str] = []
        for change in reversed(self._changes()):
            file = os.path.join(self.folder, f"{change}.json")
            if os.path.exists(file):  # else an undo that was killed had come further
                before = self._read(f"{change}.json")
                notes += move_back(**before) if "target" in before else self._restore(change, before, tell)
                os.rename(file, file + ".undone")
        self._drop(*[name for name in os.listdir(self.folder) if name[0].isdigit()])
        try:
            self.line("undone", notes=notes)
        except OSError as error:
            notes.append(
                f"all is as it was, but the journal cannot be written ({error.strerror}): kit undo once more"
            )
        return notes

    def _restore(self, change: str, before: dict[str, Any], tell: Optional[Tell]) -> list[str]:
        tree: dict[str, Entry] = before["tree"]
        tops, old, new = (set(before["scope"][name]) for name in ("tops", "old", "new"))
        added = [path for path in _touched(before) if path not in tree]
        for path in (*_made(new, tree), *added):
            remove(path)
        # Of the packages that were there, folders and links come back even where RECORD does not name them.
        homes = {os.path.dirname(path) for path in old} - tops - {self.root}
        theirs = {
            above for path in (*old, *new) if path in tree for above in (path, *ancestors(path)) if above in tree
        }
        theirs |= {path for path in tree if not homes.isdisjoint(ancestors(path))}
        for path in sorted(theirs):
            if tree[path][0] == "folder" and not os.path.isdir(path):
                remove(path)
                os.mkdir(path)
        notes = []
        for path, number in before["kept"].items():
            if tell and number % 500 == 0:
                tell(number, len(before["kept"]))
            notes += bring_back(os.path.join(self.folder, change, str(number)), path, tree[path])
        for path in theirs:
            if tree[path][0] == "link" and not same(look(path), tree[path]):
                remove(path)
                os.symlink(tree[path][1], path)
                os.utime(path, ns=(tree[path][2], tree[path][2]), follow_symlinks=False)
        self._clean({*added, *old, *new, *theirs}, tree, tops)
        return notes

    def _clean(self, paths: set[str], tree: dict[str, Entry], tops: set[str]) -> None:
        """Remove byte code of ``paths`` and folders that were not there; the others get their mode and time back."""
        stems = {path.rpartition(".")[0] for path in paths}
        for folder in {os.path.dirname(path) for path in paths}:
            cache = os.path.join(folder, "__pycache__")
            with contextlib.suppress(OSError):
                for name in os.listdir(cache):
                    if os.path.join(folder, name.partition(".")[0]) in stems:
                        os.unlink(os.path.join(cache, name))
                os.rmdir(cache)
        above = {one for path in paths for one in ancestors(path) if inside(one, self.root) or one in tree}
        above |= {path for path in paths if tree.get(path, [""])[0] == "folder"}
        children: dict[str, set[str]] = {folder: set() for folder in above}
        for path in tree:
            if os.path.dirname(path) in children:
                children[os.path.dirname(path)].add(os.path.basename(path))
        for folder in sorted(above, reverse=True):
            if folder not in tree:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)  # unless somebody else has put something there
                continue
            walked = any(inside(folder, top) for top in tops)
            if not walked or set(os.listdir(folder)) - LEFT_OUT == children[folder]:  # hides no other's change
                restamp(folder, tree[folder])

    def _write(self, name: str, data: Any) -> None:
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w", encoding="utf-8") as stream:
            json.dump(data, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path + ".new", path)
        sync(self.folder)

    def _read(self, name: str) -> Any:
        with open(os.path.join(self.folder, name), encoding="utf-8") as stream:
            return json.load(stream)

    def _drop(self, *names: str) -> None:
        for name in names:
            remove(os.path.join(self.folder, name))


def _made(new: Iterable[str], tree: dict[str, Entry]) -> set[str]:
    """The folders that a change makes for its files: they are its own, with all that lies in them."""
    return {folder for folder in map(os.path.dirname, new) if folder not in tree}


def _touched(before: dict[str, Any]) -> dict[str, Optional[Entry]]:
    """What lies now where a change may have made, changed or removed something, folders aside."""
    tree, scope = before["tree"], before["scope"]
    paths = (*scope["old"], *scope["new"])
    found = {path: look(path) for path in paths}
    left = strays(paths, scope["root"]) - set(tree)
    own = walk(_made(scope["new"], tree) | left)
    found.update({path: entry for path, entry in own.items() if entry[0] != "folder" or path in left})
    return {path: entry for path, entry in found.items() if entry is not None or path in tree}


def journals(root: str) -> list[Journal]:
    """The repairs of the environment at ``root``, the latest first."""
    folder = os.path.join(root, FOLDER)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, "journal.jsonl"))]
        return [Journal(os.path.join(folder, name)) for name in sorted(names, reverse=True)]
    return []
