"""Files that a recipe names: found beside it, and what they list put into its installs."""

import os
from pathlib import Path
from typing import Callable, Optional

from kit.errors import KitError
from kit.recipes.model import Install, Options, Package, Span, Word
from kit.recipes.reading import files

_LARGEST = 2_000_000  # bytes
# Folders whose Dockerfiles are built from the folder above.
_ASIDE = (".devcontainer", "docker", ".docker", "workflows", "dockerfiles", ".binder", "binder")


class Beside:
    """Finds the files that the commands of a recipe name: in its folder, in the one above for a ``.devcontainer``.

    In a Dockerfile (``copies`` is not None) only what is copied or mounted is there, perhaps under another name.
    """

    def __init__(self, path: str, copies: Optional[list[tuple[str, str]]] = None) -> None:
        self.folder = os.path.dirname(path)
        self.copies = copies

    def copied(self, source: str, target: str) -> None:
        """``COPY source target``."""
        if self.copies is not None:
            self.copies.append((source, target))

    def find(self, name: str, cloned: bool = False) -> Optional[Path]:
        """The file that a command means by this name, if it is here.  ``cloned``: a repository was fetched before,
        so that a name may be of a file in it."""
        if not name or "$" in name or "://" in name or "\0" in name:
            return None
        folders = [self.folder]
        if os.path.basename(self.folder) in _ASIDE or os.path.basename(os.path.dirname(self.folder)) in _ASIDE[:1]:
            folders += [os.path.join(self.folder, ".."), os.path.join(self.folder, "..", "..")]
        for candidate in self._names(name, cloned):
            for folder in folders:
                path = Path(os.path.normpath(os.path.join(folder, candidate)))
                try:
                    if path.is_file() and path.stat().st_size < _LARGEST:
                        return path
                except (OSError, ValueError):
                    continue
        return None

    def _names(self, name: str, cloned: bool) -> list[str]:
        """The names that it may have here: as it is, or before it was copied."""
        if self.copies is None:
            return [] if name.startswith("/") or cloned else [name]
        names = []
        last = os.path.basename(name)
        for source, target in reversed(self.copies):
            source = source.lstrip("/") or "."
            renamed = os.path.basename(target.rstrip("/")) == last and not target.endswith("/")
            whole = os.path.basename(os.path.normpath(source)) != last
            if renamed and not source.endswith("/"):
                names.append(source)
            if not whole:
                names.append(source)
            elif not cloned:  # a folder
                inner = name[len(target.rstrip("/")) + 1 :] if name.startswith(target.rstrip("/") + "/") else name
                names.append(os.path.join(source, inner.lstrip("/")))
        return names


def text_of(path: Path) -> Optional[str]:
    """A file's text; None where it cannot be read."""
    try:
        return files.text(str(path))
    except KitError:  # it is not the one that is checked
        return None


def attached(
    install: Install,
    beside: Beside,
    parse: "Callable[[str, str], Install]",
    cloned: bool = False,
    seen: frozenset[str] = frozenset(),
) -> Install:
    """An install with what its files of requirements list.

    Their options are put to its own as words of another file: ``raw`` is empty, the place is that of the file's name.
    """
    packages: list[Package] = [*install.packages]
    options = install.options
    for word in install.options.requirement_files:
        path = beside.find(word.text, cloned) if word.known else None
        key = str(path.resolve()) if path else ""
        text = text_of(path) if path and key not in seen else None
        if path is None or text is None:
            continue
        listed = attached(parse(text, str(path)), Beside(str(path)), parse, False, seen | {key})
        packages += listed.packages
        options = _with(options, listed.options, Span(word.span.start, word.span.start))
    return Install(
        install.tool,
        install.span,
        tuple(packages),
        options,
        install.command,
        install.python,
        install.stage,
        install.local,
    )


def _with(options: Options, more: Options, place: Span) -> Options:
    """Options and those of a file, whose words have their place where the file is named."""

    def moved(words: tuple[Word, ...]) -> tuple[Word, ...]:
        return tuple(Word(w.text, "", place, w.known) for w in words)

    kept = dict(options.__dict__)
    for name in ("extra_indexes", "find_links", "channels", "global_options", "config_settings", "constraint_files"):
        kept[name] = (*getattr(options, name), *moved(getattr(more, name)))
    for name in ("only_binary", "no_binary"):
        kept[name] = (*getattr(options, name), *getattr(more, name))
    kept["index"] = options.index or next(iter(moved((more.index,) if more.index else ())), None)
    kept["pre"] = options.pre or next(iter(moved((more.pre,) if more.pre else ())), None)
    kept["no_index"] = options.no_index or more.no_index
    return Options(**kept)
