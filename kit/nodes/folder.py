"""Reads a folder that holds one file of facts for each node, one after the other."""

import json
import os
from collections.abc import Iterator
from typing import Any, Union
from urllib.parse import quote

from kit import codec
from kit.errors import KitError
from kit.nodes.records import SCHEMA, STATES, Answer, reason

LARGEST = 16 * 2**20  # bytes; the facts of an environment take some tens of thousands
LONGEST = 300  # characters of a reason, or of a name
_WORDS = "; write them with srun, pbsdsh or kit collect -o DIR/$HOSTNAME.json"


def answers(folder: str) -> Iterator[Answer]:
    """An answer for each ``NODE.json`` in a folder, by name.  KitError where there is no such folder, or no file."""
    try:
        found = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    except NotADirectoryError:
        raise KitError(f"{folder} is a file; name the folder that holds one facts file for each node") from None
    except OSError as error:
        raise KitError(f"{folder} cannot be read: {error.strerror or error}") from None
    if not found:
        raise KitError(f"{folder} holds no facts files (NODE.json){_WORDS}")
    for name in found:
        yield answer(os.path.join(folder, name), name[: -len(".json")])


def answer(file: str, node: str) -> Answer:
    """What one file says; ``node`` is the name where the file gives none."""
    try:
        with open(file, "rb") as stream:
            text = stream.read(LARGEST + 1)
    except OSError as error:
        return Answer(node, "unreadable", why=f"the file cannot be read: {error.strerror or error}")
    return said(text, node)


def said(text: Union[str, bytes], node: str) -> Answer:
    """What came from a node as JSON: what the one file writes, a facts file, or the output of ``kit doctor``."""
    if len(text) > LARGEST:
        return Answer(node, "unreadable", why=f"larger than {LARGEST // 2**20} MiB: no facts file")
    try:
        data = codec.read(text, "facts")
    except KitError as error:
        return Answer(node, "unreadable", why=reason(error))
    if not isinstance(data, dict):
        return Answer(node, "unreadable", why=f"not a facts file: it holds {codec.kind_of(data)}")
    if "python" in data or "verdict" in data:  # a facts file, or kit doctor --json
        facts = data.get("facts", data)
        return Answer(node, "answered", data=facts if isinstance(facts, dict) else data)
    return _wrapped(data, node)


def _wrapped(data: dict[str, Any], node: str) -> Answer:
    """What the one file writes: the facts, and what is known besides."""
    named, seconds = data.get("node", node), data.get("seconds")
    if data.get("schema") != SCHEMA or not isinstance(named, str) or not 0 < len(named) <= LONGEST:
        return Answer(node, "unreadable", why=f"no facts file that this kit reads (schema {data.get('schema')!r})")
    facts = data.get("facts")
    state = data.get("state") or ("answered" if facts else "unreadable")
    why = data.get("why") or ("" if facts or data.get("state") else "it holds no facts")
    if state not in STATES or not isinstance(why, str) or not isinstance(facts, (dict, type(None))):
        return Answer(named, "unreadable", why=f"no facts file that this kit reads (state {state!r})")
    return Answer(
        named,
        state,
        why=" ".join(why.split())[:LONGEST],
        seconds=seconds if isinstance(seconds, (int, float)) else None,
        verified=data.get("verified"),
        measured=data.get("measured"),
        data=facts,
    )


def keep(answer: Answer, folder: str) -> None:
    """Write an answer as ``NODE.json``, which :func:`answers` reads."""
    data = answer.data if answer.facts is None else answer.facts.to_dict()
    row = {"schema": SCHEMA, "node": answer.node, "state": answer.state, "why": answer.why, "facts": data}
    row.update(seconds=answer.seconds, verified=answer.verified, measured=answer.measured)
    name = quote(answer.node, safe=" []")
    file = os.path.join(folder, (f"%2E{name[1:]}" if name.startswith(".") else name) + ".json")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise KitError(f"{folder} cannot be written: {error.strerror or error}") from None
    save(json.dumps(row), file)


def save(text: str, file: str) -> None:
    """Write a file; one that was there stays as it was until the new one is whole."""
    try:
        with open(f"{file}.part", "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(f"{file}.part", file)
    except OSError as error:
        if os.path.isfile(f"{file}.part"):
            os.unlink(f"{file}.part")
        raise KitError(f"{file} cannot be written: {error.strerror or error}") from None
