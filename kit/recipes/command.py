"""``kit recipe``: its arguments, and what each of its actions does and prints."""

import json
import os
from typing import TYPE_CHECKING, Any, Callable

from kit.errors import KitError
from kit.findings import quote
from kit.recipes import page
from kit.recipes.checking import Checked, check
from kit.recipes.fixing import Fixed, fix, propose
from kit.recipes.rules import rules

if TYPE_CHECKING:
    from kit.recipes.writing import Written

Print = Callable[[str], None]


def add_arguments(parser: Any) -> None:
    """The actions of ``kit recipe``."""
    actions = parser.add_subparsers(dest="action", metavar="check | write | page", required=True)
    checks = actions.add_parser("check", help="what in these files leads to a failure, and what to write instead")
    checks.set_defaults(act=run_check)
    checks.add_argument("path", metavar="FILE", nargs="+", help="a recipe, a Python file, a notebook, or a folder")
    checks.add_argument("--fix", action="store_true", help="write the edits that are safe: shows them, asks")
    checks.add_argument("--all", action="store_true", help="with --fix: also the edits that are to be read first")
    checks.add_argument("--yes", action="store_true", help="with --fix: write without asking")
    checks.add_argument("--gpu", metavar="CC", help="the compute capability that they are to serve, e.g. 12.0")
    checks.add_argument("--guarded", action="store_true", help="imports that moved: for old and new releases at once")
    checks.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")

    write = actions.add_parser("write", help="a recipe that is pinned, commented and passes the check")
    write.set_defaults(act=run_write)
    write.later = "kit.recipes.writing"
    write.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")

    pages = actions.add_parser("page", help="the page of a rule")
    pages.set_defaults(act=run_page)
    pages.add_argument("id", metavar="RULE", nargs="?", help="its id; without it, every rule in a line")


def run(arguments: Any, write: Print, confirm: Callable[[Any], bool]) -> int:
    """Do the action, and return its exit status."""
    status: int = arguments.act(arguments, write, confirm)
    return status


def result(arguments: Any) -> Any:
    """The same for a notebook: an object that shows itself.  Nothing is changed without ``--yes``."""
    if arguments.action == "write":
        return written_by(arguments)[0]
    if arguments.action == "page":
        if arguments.id is None:
            raise KitError("name a rule: %kit recipe page RULE; a finding names its own")
        return page(arguments.id)
    checked = checked_by(arguments)
    if not arguments.fix:
        return checked
    return fix(checked, lambda _: True, arguments.all) if arguments.yes else propose(checked, arguments.all)


def checked_by(arguments: Any) -> Checked:
    if (arguments.all or arguments.yes) and not arguments.fix:
        raise KitError("--all and --yes go with --fix")
    return check(arguments.path, gpu=arguments.gpu, guarded=arguments.guarded)


def run_check(arguments: Any, write: Print, confirm: Callable[[Any], bool]) -> int:
    from kit import show

    checked = checked_by(arguments)
    outcome: Any = checked
    if arguments.fix:

        def ask(fixed: Fixed) -> bool:
            if not arguments.json:
                write(show.text(fixed) + "\n\n")
            return confirm(fixed)

        outcome = fix(checked, ask, arguments.all)
        checked = outcome.left
    if arguments.json:
        write(json.dumps(outcome.to_dict()) + "\n")
    else:
        if arguments.fix:
            write(show.text(outcome) + "\n\n")
        write(show.text(checked) + "\n")
    _complain(outcome)
    return int(checked.verdict != "clean")


def _complain(outcome: Any) -> None:
    """KitError for a file that could not be read, or not be written: the others were."""
    whys = [file.unread[0].why for file in getattr(outcome, "files", ()) if file.kind == "unknown" and file.unread]
    whys += [change.why for change in getattr(outcome, "changes", ()) if change.why]
    if whys:
        raise KitError("; ".join(dict.fromkeys(whys)))


def run_write(arguments: Any, write: Print, confirm: Callable[[Any], bool]) -> int:
    written, paths = written_by(arguments)
    if arguments.json:
        write(json.dumps(written.to_dict()) + "\n")
    elif paths:
        words = " ".join(quote(path) for path in paths)
        write("".join(f"written: {path}\n" for path in paths) + "".join(f"note: {note}\n" for note in written.notes))
        write(f"To check it again at any time: python -m kit recipe check {words}\n")
    else:
        write(written.text)
    return 0


def written_by(arguments: Any) -> "tuple[Written, tuple[str, ...]]":
    """What is written, and the paths to which; none without ``-o``."""
    from kit.recipes import writing

    facts = None if arguments.facts is None else _facts(arguments.facts)
    written = writing.write(arguments.kind, writing.asked(arguments, facts), arguments.output)
    if arguments.output is None:
        return written, ()
    return written, writing.save(written.paths(arguments.output), arguments.force)


def _facts(name: str) -> Any:
    import kit

    return kit.machine(name) if not os.path.exists(name) and name in kit.machines() else kit.load(name)


def run_page(arguments: Any, write: Print, confirm: Callable[[Any], bool]) -> int:
    if arguments.id is not None:
        write(str(page(arguments.id)))
        return 0
    known = rules()
    width = max((len(one.id) for one in known), default=0)
    write("".join(f"{one.id:<{width}}  {one.title}\n" for one in known))
    return 0
