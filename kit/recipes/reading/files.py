"""The bytes and the text of files that a recipe may be."""

import os

from kit.errors import KitError

_LARGEST, _LARGEST_NOTEBOOK = 8_000_000, 64_000_000  # bytes; notebooks hold pictures
_UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def text(path: str) -> str:
    """The text of a file.  KitError where it cannot be read or is none."""
    return decoded(contents(path))[0]


def contents(path: str) -> bytes:
    """The bytes of a text file.  KitError where it cannot be read or is none."""
    most = _LARGEST_NOTEBOOK if path.endswith(".ipynb") else _LARGEST
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            os.stat(path)
            what = (
                "a folder: name the files in it, or check it as a whole" if os.path.isdir(path) else "no plain file"
            )
            raise KitError(f"{path} is {what}")
        with open(path, "rb") as stream:
            raw = stream.read(most + 1)
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > most:
        raise KitError(f"{path} is larger than {most / 1e6:.0f} MB: no recipe is")
    if b"\0" in raw and raw[:2] not in _UTF_16:
        raise KitError(f"{path} holds binary data, not text")
    return raw


def decoded(raw: bytes) -> tuple[str, bytes, str]:
    """The text of a file, the mark that it begins with, and its encoding: what is no UTF-8 is read byte by byte."""
    if raw[:2] in _UTF_16:  # as PowerShell's > writes
        return raw[2:].decode(_UTF_16[raw[:2]], "replace"), raw[:2], _UTF_16[raw[:2]]
    mark = raw[:3] if raw.startswith(b"\xef\xbb\xbf") else b""
    try:
        return raw[len(mark) :].decode("utf-8"), mark, "utf-8"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), b"", "latin-1"
