"""Options of installers in every form that they may be written in, sorted into :class:`Options`.

The place of an option's value is that of the value alone: of ``--find-links=URL`` and ``PIP_FIND_LINKS=URL`` it is
where the URL stands.
"""

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Optional

from kit.facts import normalise
from kit.recipes.model import Command, Options, Setting, Span, Word
from kit.record import Record


class Given(Record):
    """One option with its value, or (``name`` is '') one argument.  ``word`` is the word that it stands in."""

    name: str
    word: Word
    value: Optional[Word] = None


class Grammar(enum.Enum):
    """Whose options are read."""

    PIP = "pip"
    UV = "uv"
    CONDA = "conda"
    SYSTEM = "apt"


_PIP_VALUES = """-r -c -e -t -i -f -b -d -C -w --requirement --constraint --editable --target --index-url --pypi-url
--find-links --build --extra-index-url --platform --python-version --implementation --abi --root --prefix --src
--upgrade-strategy --config-settings --config-setting --global-option --install-option --build-option --no-binary
--only-binary --progress-bar --root-user-action --report --python --log --proxy --retries --timeout --exists-action
--trusted-host --cert --client-cert --cache-dir --use-feature --use-deprecated --keyring-provider --group
--build-constraint --hash --requirements-from-script --uploaded-prior-to --log-file --local-log --default-timeout
--resume-retries"""
_PIP_FLAGS = """--no-deps --pre --dry-run --user --upgrade --force-reinstall --ignore-installed
--ignore-requires-python --no-build-isolation --use-pep517 --no-use-pep517 --check-build-dependencies
--break-system-packages --compile --no-compile --no-warn-script-location --no-warn-conflicts --prefer-binary
--require-hashes --no-clean --no-index --help --debug --isolated --require-virtualenv --verbose --version --quiet
--no-input --no-cache-dir --disable-pip-version-check --no-color --no-python-version-warning"""
_UV_VALUES = """-r -c -e -t -i -f -p -P -C -b -n --requirements --requirement --constraints --constraint --overrides
--override --excludes --build-constraints --build-constraint --editable --extra --group --target --prefix --index
--default-index --index-url --extra-index-url --find-links --index-strategy --keyring-provider --no-binary
--only-binary --no-build-isolation-package --no-build-package --no-binary-package --refresh-package
--reinstall-package --upgrade-package --upgrade-group --resolution --prerelease --fork-strategy --config-setting
--config-settings --config-settings-package --exclude-newer --exclude-newer-package --link-mode --python-version
--python-platform --torch-backend --python --cache-dir --color --directory --project --config-file
--allow-insecure-host --optional --rev --tag --branch --package --script --bounds --marker --no-group --only-group
--no-extra --no-install-package --no-sources-package --no-emit-package --output-format"""
_CONDA_VALUES = """-n -p -c -f --name --prefix --channel --file --revision --solver --experimental-solver
--repodata-fn --platform --subdir --clone -r --root-prefix --rc-file --relocate-prefix --category --log-level"""
_SYSTEM_VALUES = """-t -o -c -a -q=2 --target-release --default-release --option --config-file -X --repository -p
--root --virtual --keys-dir --enablerepo --disablerepo --setopt --releasever --installroot --host-architecture"""
_VALUES = {
    Grammar.PIP: frozenset(_PIP_VALUES.split()),
    Grammar.UV: frozenset(_UV_VALUES.split()) - {"-n"},
    Grammar.CONDA: frozenset(_CONDA_VALUES.split()),
    Grammar.SYSTEM: frozenset(_SYSTEM_VALUES.split()) - {"-q=2"} | {"-t"},
}
_PIP_NAMES = sorted({*_PIP_VALUES.split(), *_PIP_FLAGS.split()})


def parse_arguments(words: Iterable[Word], grammar: Grammar, text: str) -> Iterator[Given]:
    """Options and arguments in order."""
    values = _VALUES[grammar]
    rest = iter(words)
    for word in rest:
        name = word.text
        if name == "--":
            yield from (Given("", one) for one in rest)
        elif name.startswith("--"):
            name, sign, value = name.partition("=")
            name = _whole(name) if grammar is Grammar.PIP else name
            if sign:
                yield Given(name, word, cut(word, text, len(word.text) - len(value)))
            else:
                yield Given(name, word, next(rest, None) if name in values else None)
        elif name.startswith("-") and len(name) > 1:
            yield from _short(word, rest, values, grammar, text)
        elif name:
            yield Given("", word)


def _short(
    word: Word, rest: Iterator[Word], values: "frozenset[str]", grammar: Grammar, text: str
) -> Iterator[Given]:
    """``-U``, ``-r file``, ``-rfile``, ``-qUr file``."""
    if grammar is Grammar.SYSTEM and word.text.startswith("-o="):
        return
    for at in range(1, len(word.text)):
        letter = "-" + word.text[at]
        if letter not in values:
            yield Given(letter, word)
            continue
        glued = word.text[at + 1 :]
        if glued:
            equals = glued.startswith("=") and grammar is not Grammar.PIP
            yield Given(letter, word, cut(word, text, at + 1 + equals))
        else:
            yield Given(letter, word, next(rest, None))
        return


def _whole(name: str) -> str:
    """pip takes the beginning of an option for the whole, where it is the beginning of one alone."""
    if name in _PIP_NAMES:
        return name
    whole = [known for known in _PIP_NAMES if known.startswith(name)]
    return whole[0] if len(whole) == 1 else name


def cut(word: Word, text: str, at: int) -> Word:
    """A word without its first characters: of ``--find-links=URL`` the URL, with its place."""
    head = word.text[:at]
    if not word.raw.startswith(head):
        return Word(word.text[at:], word.raw, word.span, word.known)
    span = Span(word.span.start + at, word.span.end)
    return Word(word.text[at:], text[span.start : span.end], span, word.known)


# The names that say the same.
_SAME = {
    "-r": "--requirement",
    "--requirements": "--requirement",
    "-c": "--constraint",
    "--constraints": "--constraint",
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "--default-index": "--index-url",
    "--index": "--extra-index-url",
    "-f": "--find-links",
    "-U": "--upgrade",
    "-C": "--config-settings",
    "--config-setting": "--config-settings",
    "--install-option": "--global-option",
    "--build-option": "--global-option",
    "--no-build": "--only-binary=:all:",
    "--no-build-isolation-package": "--no-build-isolation",
    "--channel": "-c conda",
}
_WORDS = {
    "--extra-index-url": "extra_indexes",
    "--find-links": "find_links",
    "--global-option": "global_options",
    "--config-settings": "config_settings",
    "--requirement": "requirement_files",
    "--constraint": "constraint_files",
    "-c conda": "channels",
}
_FLAGS = {
    "--no-build-isolation": "no_build_isolation",
    "--no-deps": "no_deps",
    "--no-index": "no_index",
    "--upgrade": "upgrade",
    "--break-system-packages": "break_system_packages",
}
_BINARY = {"--only-binary": "only_binary", "--no-binary": "no_binary"}


def sorted_out(given: Iterable[Given], start: Options, conda: bool = False) -> Options:
    """Options as given, after those that hold anyway."""
    kept: dict[str, object] = dict(start.__dict__)
    for one in given:
        name = "-c conda" if conda and one.name == "-c" else _SAME.get(one.name, one.name)
        if name == "--index-url" and one.value:
            kept["index"] = _address(one.value)
        elif name in _WORDS and one.value:
            field = _WORDS[name]
            address = field in ("extra_indexes", "find_links")
            kept[field] = (*_words(kept, field), _address(one.value) if address else one.value)
        elif name in _FLAGS:
            kept[_FLAGS[name]] = True
        elif name == "--pre" or (name == "--prerelease" and one.value and one.value.text == "allow"):
            kept["pre"] = one.word
        elif name == "--torch-backend" and one.value:
            kept["extra_indexes"] = (*_words(kept, "extra_indexes"), _backend(one.value))
        elif name in _BINARY and one.value:
            kept[_BINARY[name]] = _formats(_names(kept, _BINARY[name]), one.value.text)
        elif name == "--only-binary=:all:":
            kept["only_binary"] = (":all:",)
    return Options(**kept)  # type: ignore[arg-type]


def _words(kept: dict[str, object], field: str) -> tuple[Word, ...]:
    value = kept.get(field, ())
    assert isinstance(value, tuple)
    return value


def _names(kept: dict[str, object], field: str) -> tuple[str, ...]:
    value = kept.get(field, ())
    assert isinstance(value, tuple)
    return value


def _formats(before: tuple[str, ...], value: str) -> tuple[str, ...]:
    for name in filter(None, (piece.strip() for piece in value.split(","))):
        before = () if name == ":none:" else (*before, name if name.startswith(":") else normalise(name))
    return before


def _address(word: Word) -> Word:
    """uv's ``name=https://...`` without the name."""
    name, sign, rest = word.text.partition("=")
    if (
        sign
        and name.replace("-", "").replace("_", "").isalnum()
        and "://" in rest
        and word.raw.startswith(name + "=")
    ):
        span = Span(word.span.start + len(name) + 1, word.span.end)
        return Word(rest, word.raw[len(name) + 1 :], span, word.known)
    return word


def _backend(word: Word) -> Word:
    """The index that uv's ``--torch-backend`` stands for."""
    if word.text == "auto" or not word.known:
        return Word(word.text, word.raw, word.span, False)
    return Word(f"https://download.pytorch.org/whl/{word.text}", word.raw, word.span)


_FALSE = ("0", "false", "no", "off", "n", "f")
_TRUE = ("1", "true", "yes", "on", "y", "t")
_VARIABLES = """INDEX_URL EXTRA_INDEX_URL FIND_LINKS ONLY_BINARY NO_BINARY CONSTRAINT INDEX DEFAULT_INDEX PRERELEASE
TORCH_BACKEND REQUIREMENT CONFIG_SETTINGS""".split()
_SWITCHES = "NO_DEPS NO_INDEX UPGRADE BREAK_SYSTEM_PACKAGES PRE NO_BUILD_ISOLATION NO_BUILD".split()


def environment_options(command: Command, prefix: str, text: str) -> Options:
    """What the variables ``PIP_...`` or ``UV_...`` say that the command finds."""
    given: list[Given] = []
    for name in _VARIABLES:
        setting = command.variable(prefix + name)
        if setting is not None and setting.value != "":
            option = "--" + name.lower().replace("_", "-")
            given += (Given(option, word, word) for word in _pieces(setting, text))
    for name in _SWITCHES:
        setting = command.variable(prefix + name)
        value = (setting.value or "").lower() if setting else ""
        # pip stores the value itself in "build isolation": PIP_NO_BUILD_ISOLATION=0 is what switches it off.
        on = value in (_FALSE if (prefix, name) == ("PIP_", "NO_BUILD_ISOLATION") else _TRUE)
        if setting is not None and on:
            word = next(_pieces(setting, text))
            given.append(Given("--" + name.lower().replace("_", "-"), word, word))
    return sorted_out(given, Options())


def configured_options(option: str, value: Word, text: str) -> list[Given]:
    """An option of ``pip config set``, which has the same meaning as the variable of its name."""
    if option[2:].replace("-", "_").upper() in _SWITCHES:
        off = option == "--no-build-isolation"
        return [Given(option, value, value)] if value.text.lower() in (_FALSE if off else _TRUE) else []
    pieces = value.text.split()
    if len(pieces) < 2:
        return [Given(option, value, value)]
    return [Given(option, Word(p, value.raw, value.span, value.known), _piece(p, value)) for p in pieces]


def _piece(piece: str, value: Word) -> Word:
    at = value.raw.find(piece)
    if at < 0:
        return Word(piece, value.raw, value.span, value.known)
    return Word(piece, piece, Span(value.span.start + at, value.span.start + at + len(piece)), value.known)


def under(first: Options, then: Options) -> Options:
    """Options of which the later ones win or come after."""
    kept: dict[str, object] = {}
    for name, before in first.__dict__.items():
        after = getattr(then, name)
        if isinstance(before, tuple):
            kept[name] = (*before, *(one for one in after if one not in before))
        else:
            kept[name] = after or before
    return Options(**kept)  # type: ignore[arg-type]


def _pieces(setting: Setting, text: str) -> Iterator[Word]:
    """The values of a variable, with their places: pip splits at spaces."""
    written = text[setting.span.start : setting.span.end]
    head = re.match(rf"[\"']?{re.escape(setting.name)}[\"']?\s*[=:\s]\s*", written)
    start = setting.span.start + (head.end() if head else 0)
    whole = Span(start, setting.span.end)
    raw = text[whole.start : whole.end]
    if setting.value is None:
        yield Word(raw, raw, whole, False)
        return
    pieces = setting.value.split()
    for piece in pieces:
        found = raw.find(piece) if len(pieces) > 1 else -1
        span = Span(start + found, start + found + len(piece)) if found >= 0 else whole
        yield Word(piece, text[span.start : span.end], span)
