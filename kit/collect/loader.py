"""Answers what the dynamic loader would answer: which files a library brings in, and what is missing then.

A :class:`Process` is the list of what a process has mapped.  ``open`` follows glibc's dlopen with RTLD_NOW
(ld.so(8); glibc ``elf/dl-load.c``, ``dl-version.c``, ``dl-lookup.c``) without running anything: libraries by name,
then versions, then symbols.  :mod:`kit.collect.startup` gives the process as Python and torch leave it.
"""

import gc
import mmap
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Optional, Union

from kit.collect.elf import Buffer, Elf, Malformed, Need, Symbol, gnu_hash, newest
from kit.facts import Shadow

# Symbols with these versions are never taken back: where the library defines the version it defines the symbol.
_STABLE = (b"GLIBC_", b"GLIBCXX_", b"CXXABI_", b"GCC_")
_ET_DYN = 3
_NVIDIA = re.compile(r"lib(cu|nv|nccl)")
_PATH_MAX = 4096  # Linux takes no longer path
# What a hostile file may cost: libraries in one process and mapped files that are remembered (each holds a file
# descriptor, and 1,024 is a usual limit), and steps of searching, in sum and for each file besides.
_OBJECTS, _REMEMBERED, _STEPS, _STEPS_EACH = 500, 256, 1 << 22, 1 << 17


class Missing(NamedTuple):
    """Something that is not found, or a ``file`` that is refused: :class:`kit.facts.Missing` tells more."""

    kind: str  # file, library, version, symbol
    what: str
    by: str
    of: str = ""


class Object:
    """A library in a process: its file, the name and the way by which it was found, who asked first, its needs."""

    def __init__(self, path: str, elf: Elf, parent: Optional["Object"] = None, name: str = "", how: str = "") -> None:
        self.path, self.elf, self.parent, self.name, self.how = path, elf, parent, name, how
        self.needed: list[Object] = []

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


class Files:
    """Reads and remembers libraries by path.  ``overlay`` shows files that are not on disk, as those in a wheel."""

    def __init__(self, overlay: Optional[Mapping[str, Buffer]] = None) -> None:
        self.overlay = overlay or {}
        self._read: dict[str, Optional[Elf]] = {}
        self._identity: dict[str, object] = {}
        self._cache: Optional[dict[bytes, list[bytes]]] = None
        self.steps = _STEPS

    def spend(self, steps: int) -> None:
        """Count steps of searching.  Malformed where no real library takes so many."""
        if steps > self.steps:
            raise Malformed("what it needs takes more searching than any library does")
        self.steps -= steps

    def elf(self, path: str) -> Optional[Elf]:
        """The ELF file at ``path``; None where none can be read."""
        if path not in self._read:
            try:
                self._read[path] = self.read(path)
            except (OSError, ValueError):
                self._read[path] = None
        return self._read[path]

    def read(self, path: str) -> Elf:
        """The ELF file at ``path``.  Raises OSError, or Malformed where it is none."""
        known = self._read.get(path)
        if known is None:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
                gc.collect()
            data = self.overlay.get(path)
            known = self._read[path] = Elf(self.map(path) if data is None else data)
        return known

    def map(self, path: str) -> "mmap.mmap":
        """The file, mapped.  OSError where it is no regular file or cannot be read, Malformed where it is empty."""
        _require_file(os.stat(path))  # before it is opened: there are devices that act on that
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            _require_file(status)
            self._identity[path] = status.st_dev, status.st_ino
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)

    def identity(self, path: str) -> object:
        """The same for two paths of one file; the loader maps it once."""
        return self._identity.get(path, path)

    def head(self, path: str) -> bytes:
        """The first bytes of a file; none where it is empty, or gone by now."""
        data = self.overlay.get(path)
        try:
            return bytes((self.map(path) if data is None else data)[:64])
        except (OSError, Malformed):
            return b""

    def exists(self, path: str) -> bool:
        return path in self.overlay or os.path.exists(path)

    def cached(self, name: str) -> list[str]:
        """Where ``/etc/ld.so.cache`` has this name."""
        if self._cache is None:
            try:
                with open("/etc/ld.so.cache", "rb") as stream:
                    self._cache = read_cache(stream.read())
            except OSError:
                self._cache = {}  # musl, Nix and Windows have none
        return [os.fsdecode(path) for path in self._cache.get(os.fsencode(name), ())]


def _status(path: str) -> Optional[os.stat_result]:
    try:
        return os.stat(path)
    except OSError:
        return None


def _require_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(22, "not a regular file")
    if not status.st_size:
        raise Malformed("the file is empty")


def read_cache(data: bytes) -> dict[bytes, list[bytes]]:
    """``/etc/ld.so.cache`` as name -> paths, in the format of glibc 2.2 and later; empty for another one."""
    start = data.find(b"glibc-ld.so.cache1.1")
    found: dict[bytes, list[bytes]] = {}
    if start < 0 or len(data) < start + 48:
        return found
    count = struct.unpack_from("=I", data, start + 20)[0]
    table = data[start + 48 : start + 48 + 24 * count]
    end = data.find
    for _, key, value, _, _ in struct.iter_unpack("=iIIIQ", table[: len(table) // 24 * 24]):
        name, path = start + key, start + value
        found.setdefault(data[name : end(b"\0", name)], []).append(data[path : end(b"\0", path)])
    return found


class Process:
    """What a process has loaded, by name; ``open`` loads more, all of it or nothing."""

    def __init__(self, files: Files, library_path: str = "") -> None:
        self.files = files
        self.library_path = [folder or "." for folder in re.split("[:;]", library_path)] if library_path else []
        self.main: Optional[Object] = None
        self.objects: list[Object] = []
        self.everywhere: list[Object] = []  # the global scope: seen by every library
        self.failed: list[Object] = []  # what the last `open` that failed had mapped
        self.places: list[str] = []  # folders of NVIDIA's wheels and of torch, which no search path has to name
        self._names: dict[str, Object] = {}
        self._bringers: dict[Symbol, Object] = {}  # shared by copies: it only saves looking again
        self._likely: dict[bytes, Object] = {}
        self._lasting: Optional[frozenset[Object]] = None

    def copy(self) -> "Process":
        twin = Process(self.files)
        twin.library_path, twin.main, twin.places = self.library_path, self.main, self.places
        twin.objects, twin.everywhere, twin._names = self.objects[:], self.everywhere[:], dict(self._names)
        twin._bringers, twin._likely = self._bringers, dict(self._likely)
        twin._lasting = frozenset(self.objects)  # what only the copy loads is not kept beyond it
        return twin

    def open(
        self, path: str, *, everywhere: bool = False, caller: Optional[Object] = None, symbols: bool = True
    ) -> list[Missing]:
        """dlopen ``path`` (absolute); what is missing, the loader's first complaint first.  Empty where it loads.

        ``everywhere`` is RTLD_GLOBAL.  Without ``symbols`` only those are looked up that a library asks of one
        that was not found beside it: a large library that came with its own needs no look at each of its symbols.
        """
        before, known = len(self.objects), dict(self._names)
        self.failed = []
        self.files.steps += _STEPS_EACH
        root = self._names.get(path) or self._take(path, caller or self.main)
        if isinstance(root, Missing):
            return [root]
        try:
            missing = self.map(root) if path not in self._names else []
        except Malformed as error:
            missing = [Missing("file", f"given up: {error}", path)]
        new, scope = self.objects[before:], _breadth_first(root)
        missing = missing or [m for o in new for m in self._versions(o)]
        if not missing:
            visible = dict.fromkeys([*self.everywhere, *scope])
            bound = _binding_order(new)
            checked = bound if symbols else [o for o in bound if any(map(self._foreign, o.needed))]
            missing = [m for o in checked for m in self._symbols(o, visible)]
        if missing:
            self.failed = new
            del self.objects[before:]
            self._names = known
        elif everywhere:
            self.everywhere += [o for o in scope if o not in self.everywhere]
        return missing

    # -- libraries

    def _take(self, path: str, caller: Optional[Object]) -> Union[Object, Missing]:
        """The library that was named by its path, not yet mapped; or why the loader refuses it."""
        try:
            elf = self.files.read(path)
            problem = self.refuses(elf)
        except OSError as error:
            return Missing("file", f"cannot open shared object file: {error.strerror or error}", path)
        except Malformed as error:
            return Missing("file", f"invalid ELF file: {error}", path)
        return Missing("file", problem, path) if problem else Object(path, elf, caller)

    def map(self, root: Object, preloaded: Iterable[str] = ()) -> list[Missing]:
        """Add a library and all that it needs; the libraries that are not found."""
        missing, waiting = [], [self._add(root, [root.path])]
        for name in preloaded:  # LD_PRELOAD: a library that is not found is left out
            self._need(name, root, waiting)
        while waiting:  # breadth first, as the loader does
            current = waiting.pop(0)
            for name in current.elf.needed:
                library = self._need(name, current, waiting)
                if isinstance(library, Missing):
                    missing.append(library)
                else:
                    current.needed.append(library)
        return missing

    def _need(self, name: str, by: Object, waiting: list[Object]) -> Union[Object, Missing]:
        """The loaded library of this name, else the first one that is found, whose own needs then wait."""
        self.files.spend(1)
        library = self._names.get(name)
        if library is None:
            path, how = next(self.candidates(name, by), ("", ""))
            taken = self._take(path, by) if path else Missing("library", name, by.path)
            if isinstance(taken, Missing):
                return taken
            library = self._same_file(path)
            if library is None:
                taken.name, taken.how = name, how
                library = self._add(taken, [name, path])
                waiting.append(library)
            self._names[name] = library
        return library

    def _add(self, new: Object, names: Iterable[str]) -> Object:
        if len(self.objects) >= _OBJECTS:
            raise Malformed(f"more than {_OBJECTS} libraries")
        self.objects.append(new)
        for name in (*names, new.elf.soname):
            if name:
                self._names.setdefault(name, new)
        return new

    def _same_file(self, path: str) -> Optional[Object]:
        self.files.spend(len(self.objects))
        identity = self.files.identity(path)
        return next((o for o in self.objects if self.files.identity(o.path) == identity), None)

    def candidates(self, name: str, by: Object) -> Iterator[tuple[str, str]]:
        """(path, how it is found) of every library of this name, in the loader's order: the first one is taken."""
        if "/" in name:
            path = self._expand(name, by)
            if self._fits(path):
                yield path, "its own path"
            return
        for folder, how in self._folders(by):
            self.files.spend(40)
            path = os.path.join(folder, name)
            if self.files.exists(path) and self._fits(path):
                yield path, how
        for path in self.files.cached(name):
            if self._fits(path):
                yield path, "/etc/ld.so.cache"
        for folder in self._default_folders():
            path = os.path.join(folder, name)
            if self.files.exists(path) and self._fits(path):
                yield path, folder

    def _folders(self, by: Object) -> Iterator[tuple[str, str]]:
        if not by.elf.has_runpath:
            seen, current = set(), by
            while current is not None and current.path not in seen:
                self.files.spend(1)
                seen.add(current.path)
                for folder in self._paths(current.elf.rpath, current):
                    yield folder, "RPATH"
                current = current.parent or (self.main if current is not self.main else None)  # type: ignore[assignment]
        for folder in self.library_path:
            yield self._expand(folder, self.main or by), "LD_LIBRARY_PATH"
        for folder in self._paths(by.elf.runpath, by):
            yield folder, "RUNPATH"

    def _paths(self, text: str, by: Object) -> Iterator[str]:
        self.files.spend(len(text) // 64)
        for folder in text.split(":") if text else ():
            yield self._expand(folder or ".", by)

    def _expand(self, path: str, by: Object) -> str:
        if len(path) + path.count("$") * max(len(by.folder), 32) > _PATH_MAX:
            return path  # no file has one so long, however much of it is dots
        if "$" in path:
            path = re.sub(r"\$(ORIGIN|\{ORIGIN\})", lambda _: by.folder, path)
            path = re.sub(r"\$(LIB|\{LIB\})", lambda _: self._lib(), path)
        plain = os.path.normpath(path)
        if ".." not in path:
            return plain
        self.files.spend(path.count("/"))
        # The loader leaves `..` to Linux, which follows a link before it goes up; in an overlay there are no links.
        real, lexical = _status(path), _status(plain)
        if real is None:
            return plain if self.files.overlay or lexical is None else path
        return plain if lexical is not None and os.path.samestat(real, lexical) else path

    def _lib(self) -> str:
        """``$LIB``: a constant of each glibc, ``lib64`` or ``lib/x86_64-linux-gnu``; the folder in which it lies."""
        libc = self._names.get("libc.so.6")
        path = libc.path if libc else next(iter(self.files.cached("libc.so.6")), "/lib/libc.so.6")
        return re.sub(r"^/(usr/)?", "", os.path.dirname(path))

    def _default_folders(self) -> Iterator[str]:
        machine = self.main.elf.machine if self.main else ""
        triplet = f"{machine}-linux-gnu"
        yield from (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")

    def _fits(self, path: str) -> bool:
        """Whether the loader ends its search at this file: another machine's is passed over, a broken one is not."""
        elf, main = self.files.elf(path), self.main
        if elf is None:
            return self.files.exists(path) and (path in self.files.overlay or os.access(path, os.R_OK))
        return main is None or (elf.bits, elf.machine) == (main.elf.bits, main.elf.machine)

    def refuses(self, elf: Elf) -> str:
        """Why the loader would not take a file that was named to it; '' where it would."""
        main = self.main.elf if self.main else elf
        if elf.bits != main.bits:
            return f"wrong ELF class: a {elf.bits}-bit file for {elf.machine}, this Python has {main.bits} bits"
        if elf.machine != main.machine:
            return f"built for {elf.machine}, this machine is {main.machine}"
        if elf.big != main.big:
            return "data encoding (byte order) is not that of this machine"
        if elf.executable_stack and not main.executable_stack and self._defines_version("libc.so.6", b"GLIBC_2.41"):
            return "cannot enable executable stack as shared object requires (glibc 2.41 and later refuse it)"
        if elf.type != _ET_DYN:
            return "not a shared library: only ET_DYN can be loaded"
        if elf.pie:
            return "a program, not a library: cannot dynamically load position-independent executable"
        if elf.no_dlopen:
            return "shared object cannot be dlopen()ed: it was linked with -z nodlopen"
        if not elf.has_dynamic:
            return "object file has no dynamic section: is it the debug data of a library?"
        return "cut off: parts that have to be loaded lie behind the end of the file" if elf.cut_off else ""

    # -- versions and symbols

    def _versions(self, by: Object) -> list[Missing]:
        missing = []
        known: dict[str, set[bytes]] = {}
        try:
            for need in by.elf.needs:
                library = self._names.get(need.library)
                if library is None or need.weak:
                    continue
                defined = known.get(need.library)
                if defined is None:
                    defined = known[need.library] = set(library.elf.defined_versions().values())
                # One that has not even a table of versions ends the process: an assertion of glibc fails.
                if need.version.encode() not in defined and (defined or not library.elf.has_versions):
                    missing.append(Missing("version", need.version, by.path, need.library))
        except Malformed as error:
            return [Missing("file", f"invalid ELF file: {error}", by.path)]
        return missing

    def _symbols(self, by: Object, visible: Mapping[Object, None]) -> list[Missing]:
        try:
            missing = {s for s in by.elf.undefined(without=_STABLE) if not self._has(s, visible)}
            if not missing:
                return []
            # The loader binds what relocations use; a symbol that is only listed harms nobody.
            return [
                Missing("symbol", s.name.decode("utf-8", "replace"), by.path, s.version.decode("utf-8", "replace"))
                for s in by.elf.relocated()
                if s in missing
            ]
        except Malformed as error:
            return [Missing("file", f"invalid ELF file: {error}", by.path)]

    def _has(self, symbol: Symbol, visible: Mapping[Object, None]) -> bool:
        known = self._bringers.get(symbol)
        if known is not None and known in visible:
            return True
        # The library that brought the last symbol of this kind (_ZN2at..., PyObj...) most often brings the next.
        kind, hash = symbol.name[:6], gnu_hash(symbol.name)
        likely = self._likely.get(kind)
        self.files.spend(1)
        for library in [likely, *visible] if likely in visible else visible:
            self.files.steps -= 1
            if library is not None and library.elf.defines(symbol, hash):
                self._likely[kind] = library
                if self._lasting is None or library in self._lasting:
                    self._bringers[symbol] = library
                return True
        return False

    def _defines_version(self, library: str, version: bytes) -> bool:
        found = self._names.get(library)
        return found is not None and version in found.elf.defined_versions().values()

    def _foreign(self, library: Object) -> bool:
        """Whether a library came from another place than the one that its own package meant."""
        if library.name.startswith("libmkl"):
            return True  # conda's, a package of its own that has outrun torch: `undefined symbol: iJIT_NotifyEvent`
        if library.how in ("", "RPATH", "RUNPATH"):
            return False
        return library.how == "LD_LIBRARY_PATH" or bool(_NVIDIA.match(library.name))

    # -- what a person has to know of a failure

    def elsewhere(self, name: str) -> list[str]:
        """Where a library that the loader did not find lies all the same."""
        paths = (os.path.join(folder, name) for folder in self.places)
        return [path for path in paths if self.files.exists(path) and self._fits(path) and self.files.elf(path)]

    def newest(self, library: str, family: str) -> Optional[str]:
        """The newest version of a family that a loaded library has: ``GLIBC_2.36`` of ``libc.so.6``."""
        found = self._names.get(library) or next((o for o in self.failed if o.name == library), None)
        try:
            defined = found.elf.defined_versions() if found else {}
        except Malformed:
            defined = {}
        versions = [v.decode("utf-8", "replace") for v in defined.values()]
        best = newest([Need(library, version, False) for version in versions], family)
        return f"{family}_{best}" if best else None

    def shadows(self, missing: Iterable[Missing]) -> list[Shadow]:
        """The libraries of the last failed ``open`` that lack something which another one of their name has."""
        found = []
        for lack in missing:
            for taken in self.failed if lack.kind in ("version", "symbol") else ():
                if not taken.name or (lack.kind == "version" and lack.of != taken.name):
                    continue
                try:
                    shadow = self._shadow(lack, taken)
                except Malformed:
                    continue
                if shadow and shadow not in found:
                    found.append(shadow)
        return found

    def _shadow(self, lack: Missing, taken: Object) -> Optional[Shadow]:
        symbol = Symbol(lack.what.encode(), lack.of.encode())
        behind = [path for path, _ in self.candidates(taken.name, taken.parent or taken)]
        for path in [*behind, *self.elsewhere(taken.name)]:
            library = self.files.elf(path)
            if library is None or self.files.identity(path) == self.files.identity(taken.path):
                continue
            if (
                lack.what.encode() in library.defined_versions().values()
                if lack.kind == "version"
                else library.defines(symbol, gnu_hash(symbol.name))
            ):
                return Shadow(taken.name, taken.path, taken.how, path)
        return None


def _breadth_first(root: Object) -> list[Object]:
    scope, seen = [root], {root}
    for current in scope:
        new = [o for o in dict.fromkeys(current.needed) if o not in seen]
        seen.update(new)
        scope += new
    return scope


def _binding_order(new: list[Object]) -> list[Object]:
    """New libraries in the order in which their symbols are bound, as glibc 2.35 and later sort them: the end of a
    chain of needs before its beginning (dl-sort-maps.c), and the one that was opened at last."""
    order: dict[Object, None] = {}
    seen, fresh = set(), set(new)
    for start in reversed(new):
        waiting = [start]
        while waiting:
            current = waiting[-1]
            if current in seen:
                order[waiting.pop()] = None
            else:
                seen.add(current)
                waiting += [o for o in reversed(current.needed) if o in fresh and o not in seen]
    return [*(o for o in order if o is not new[0]), *new[:1]]
