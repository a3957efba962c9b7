"""Reads C++ symbols: their names for a person, and what a missing one tells of the torch that it was built for."""

import re
from collections.abc import Iterable
from typing import Any, Optional

from kit.data import table

# "_ZN" and then torch's own name spaces; "_ZTV" and the like before it are its tables of virtual functions and types.
_TORCH = re.compile(r"_Z(T[VIST])?N?K?(2at|3c10|5torch|6caffe2)")
_LONGEST = 2048  # characters; what is longer is no name that a person can use

# The grammar is that of the Itanium C++ ABI (itanium-cxx-abi.github.io), 5.1; only what stands in names is read.
_SPECIAL = {"TV": "vtable for ", "TI": "typeinfo for ", "TS": "typeinfo name for ", "TT": "VTT for ", "GV": ""}
_STANDARD = {"t": "std", "a": "std::allocator", "b": "std::basic_string", "s": "std::string"}
_OPERATORS = {
    **{
        "nw": " new",
        "na": " new[]",
        "dl": " delete",
        "da": " delete[]",
        "eq": "==",
        "ne": "!=",
        "lt": "<",
        "gt": ">",
    },
    **{
        "le": "<=",
        "ge": ">=",
        "ls": "<<",
        "rs": ">>",
        "pl": "+",
        "mi": "-",
        "ml": "*",
        "dv": "/",
        "rm": "%",
        "ix": "[]",
    },
    **{
        "cl": "()",
        "aS": "=",
        "pL": "+=",
        "mI": "-=",
        "mL": "*=",
        "dV": "/=",
        "an": "&",
        "or": "|",
        "eo": "^",
        "co": "~",
    },
    **{
        "nt": "!",
        "aa": "&&",
        "oo": "||",
        "pp": "++",
        "mm": "--",
        "pt": "->",
        "de": "*",
        "ng": "-",
        "aN": "&=",
        "oR": "|=",
    },
}
# Inside <...>: what is passed over, what opens a part that ends with E, and what is a name of so many characters.
_OVER = re.compile(r"L[a-z]n?\d+E|S[0-9A-Z]*_|S[a-z]|T\d*_|A\d*_|D[a-su-z]|[a-zKRPOGM]")
_OPENS = re.compile(r"I|N|X|J|F|D[Tt]")
_PART = re.compile(r"L[a-z]n?\d+E|S[0-9A-Z]*_|S[a-z]|[TA]\d*_|[CD]\d|.", re.S)  # one that is no word


def name(symbol: str) -> str:
    """The C++ name of a mangled symbol, without its arguments: ``at::_ops::zeros_like::call(...)``.

    What is no such symbol, or holds what is not read here (a lambda, an unnamed type), is returned as it is.
    """
    if not symbol.startswith("_Z") or len(symbol) > _LONGEST:
        return symbol
    special = _SPECIAL.get(symbol[2:4])
    parts, at = _name(symbol, 2 if special is None else 4)
    if not parts:
        return symbol
    called = special is None and at < len(symbol)  # arguments follow; after the name of a variable, nothing does
    shown = (special or "") + "::".join(parts) + ("(...)" if called else "")
    return shown if len(shown) <= _LONGEST else symbol


def _name(text: str, at: int) -> tuple[list[str], int]:
    """The parts of the name that begins here, and where it ends; none where it is not understood."""
    nested = text.startswith("N", at)
    if nested:
        at += 1
        while at < len(text) and text[at] in "rVKRO":
            at += 1
    parts: list[str] = []
    while at < len(text):
        code = text[at : at + 2]
        if nested and text[at] == "E":
            return parts, at + 1
        if text[at].isdigit():
            word, at = _word(text, at)
            if not word:
                return [], at
            parts.append("(anonymous namespace)" if word.startswith("_GLOBAL__N") else word)
        elif text[at] == "I" and parts:
            at = _after(text, at)
            parts[-1] += "<...>"
            if not at:
                return [], at
        elif text[at] == "B" and parts:
            tag, at = _word(text, at + 1)
            parts[-1] += f"[abi:{tag}]"
        elif text[at] == "S" and not parts and code[1:] in _STANDARD:
            parts.append(_STANDARD[code[1:]])
            at += 2
            if not nested and code == "St":
                continue
        elif re.fullmatch(r"[CD]\d", code) and parts:
            parts.append(("~" if code[0] == "D" else "") + re.sub(r"^std::|<\.\.\.>|\[.*", "", parts[-1]))
            at += 2
        elif code in _OPERATORS:
            parts.append("operator" + _OPERATORS[code])
            at += 2
        else:
            return [], at
        if not nested and text[at : at + 1] not in ("I", "B"):
            return parts, at
    return ([], at) if nested else (parts, at)


def _word(text: str, at: int) -> tuple[str, int]:
    digits = re.compile(r"\d{1,4}").match(text, at)
    if digits is None:
        return "", at
    end = digits.end() + int(digits.group())
    return (text[digits.end() : end], end) if end <= len(text) else ("", end)


def _after(text: str, at: int) -> int:
    """Where the template's arguments that begin here have ended; 0 where that is not understood."""
    depth = 0
    while at < len(text):
        opens, over = _OPENS.match(text, at), _OVER.match(text, at)
        if opens:
            depth, at = depth + 1, opens.end()
        elif text[at] == "E":
            depth, at = depth - 1, at + 1
            if not depth:
                return at
        elif text[at].isdigit():
            word, at = _word(text, at)
            if not word:
                return 0
        elif over:
            at = over.end()
        else:
            return 0
    return 0


def printable(value: Any) -> Any:
    """Text out of a file, or lists and dictionaries of it, without what steers a terminal or fits no encoding: such
    characters are escaped as in a Python string."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    if isinstance(value, list):
        return [printable(item) for item in value]
    return {key: printable(item) for key, item in value.items()} if isinstance(value, dict) else value


def of_torch(symbol: str) -> bool:
    """Whether it is a name of torch's own C++ interface."""
    return bool(_TORCH.match(symbol))


def string_abi(symbols: Iterable[str]) -> Optional[str]:
    """``'old'`` or ``'new'``: the ABI of std::string (``_GLIBCXX_USE_CXX11_ABI``) that torch's symbols among these
    were compiled for; None where none of them tells it."""
    spelt = {row[0]: row[3] for row in _rows() if len(row) > 3}
    for symbol in filter(of_torch, symbols):
        if symbol in spelt:
            abi: str = spelt[symbol]
            return abi
        if "__cxx11" in symbol or "B5cxx11" in symbol:
            return "new"
        if _has_old_string(symbol):
            return "old"
    return None


def _has_old_string(symbol: str) -> bool:
    """Whether ``Ss``, the std::string before C++11, stands in a mangled name: not as a part of a word in it."""
    at = 2
    while at < len(symbol):
        if symbol[at].isdigit():
            word, at = _word(symbol, at)
            if not word:
                return False
            continue
        part = _PART.match(symbol, at)
        if part is None or part.group() == "Ss":
            return part is not None
        at = part.end()
    return False


def built_for(symbols: Iterable[str]) -> tuple[Optional[str], Optional[str]]:
    """(first, last) minor release of the torch whose libraries have all these symbols, None where that is open.

    From the dated table ``data/torch_symbols.json``: a symbol that is not there tells nothing, and the new string ABI
    is no sign of a release, for other builders had it before PyTorch.
    """
    first: Optional[str] = None
    last: Optional[str] = None
    wanted = set(symbols)
    for symbol, since, until, *abi in _rows():
        if symbol in wanted:
            if abi == ["old"]:
                until = min(filter(None, (until, table("torch_symbols")["abi"]["old"]["last"])), key=_number)
            first = max(filter(None, (first, since)), key=_number, default=None)
            last = min(filter(None, (last, until)), key=_number, default=None)
    return (None, None) if first and last and _number(first) > _number(last) else (first, last)


def clues(symbols: Iterable[str], torch: Optional[str] = None) -> list[str]:
    """What the missing symbols of one file tell, as sentences: the string ABI, and the torch it was built for.

    ``torch`` is the minor release that runs (``'2.13'``): where it lies in the range, the release is not the cause.
    """
    missing, said = list(symbols), []
    abi = string_abi(missing)
    if abi:
        other = {"old": "new", "new": "old"}[abi]
        said.append(f"it was built with the {abi} C++ string ABI, this torch with the {other} one")
    first, last = built_for(missing)
    if torch and (not first or _number(first) <= _number(torch)) and (not last or _number(torch) <= _number(last)):
        return said
    if first and first == last:
        said.append(f"only torch {first} has all of those symbols")
    elif first and last:
        said.append(f"torch {first} to {last} have all of those symbols")
    elif first or last:
        said.append(f"torch has those symbols from {first} on" if first else f"torch had those symbols up to {last}")
    return said


def _rows() -> "list[list[str]]":
    data = table("torch_symbols")
    rows: list[list[str]] = data["symbols"] + data["cuda_symbols"]
    return rows


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
