"""Every rule for recipes, by its own page: the example shows it, what stands instead does not, its edits mend it."""

import re
from functools import lru_cache

import pytest

from kit.failures import catalogue
from kit.findings import FIX_KINDS, SEVERITIES
from kit.recipes.edits import put
from kit.recipes.reading import read as read_recipe
from kit.recipes.rules import Wish, rules

MARK = re.compile(r"[ \t]*# <--$", re.M)
read = lru_cache(lambda file, text: read_recipe(file, text=text))  # each example is read by every rule
RULES = {rule.id: rule for rule in rules()}
# A failure that is no file of the catalogue may be named where a recipe alone can have it.
FAILURES = {failure.id for failure in catalogue()}


def section(page, name):
    """(name of the file, text, lines that are marked) of ``Example`` or ``Instead``."""
    body = re.search(rf"^{name}\n-+\n(.*?)(?=^\w[^\n]*\n-{{3,}}\n|\Z)", page, re.M | re.S).group(1)
    file, _, rest = body.strip("\n").partition("\n")
    assert re.fullmatch(r"[\w./-]+:", file), f"{name} begins with the name of its file: {file!r}"
    lines = rest.strip("\n").split("\n")
    assert all(line[:4] in ("    ", "") for line in lines), f"{name}: its lines are indented by four"
    lines = [line[4:] for line in lines]
    marked = {number for number, line in enumerate(lines, 1) if MARK.search(line)}
    return file[:-1], MARK.sub("", "\n".join(lines)) + "\n", marked


def problems(rule, file, text):
    recipe = read(file, text=text)
    assert not recipe.unread, recipe.unread
    return recipe, list(rule.check(recipe, Wish()))


def covered(recipe, found):
    return {recipe.line(problem.span.start) for problem in found}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_example_has_it_on_the_marked_lines_alone(rule):
    file, text, marked = section(rule.page, "Example")
    assert marked, "no line is marked"
    recipe, found = problems(rule, file, text)
    assert covered(recipe, found) == marked
    for problem in found:
        assert problem.rule == rule.id
        assert problem.failure in FAILURES
        assert problem.severity in SEVERITIES
        assert len(problem.fix) <= 3
        assert all(fix.kind in FIX_KINDS and fix.why for fix in problem.fix)
        assert problem.fix or problem.edits, "nothing is said of what helps"
        assert 0 <= problem.span.start < problem.span.end <= len(text)
        title, _, rest = problem.summary.partition(". ")
        assert rest and len(title) < 100 and problem.summary.endswith((".", '"', ")"))
    assert rule.failure in {problem.failure for problem in found}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_stands_instead_is_fine(rule):
    file, text, marked = section(rule.page, "Instead")
    assert not marked
    for other in RULES.values():
        recipe, found = problems(other, file, text)
        assert not found, f"{other.id}, line {recipe.line(found[0].span.start)}: {found[0].summary}"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_its_edits_mend_the_example_once_and_for_all(rule):
    file, text, _ = section(rule.page, "Example")
    _, found = problems(rule, file, text)
    for _ in range(len(found)):
        edited = next((problem for problem in found if problem.edits), None)
        if edited is None:
            return
        before, text = text, put(text, edited.edits)
        assert text != before
        _, left = problems(rule, file, text)
        assert len(left) < len(found), f"the edits changed nothing for it:\n{text}"
        found = left
    assert not any(problem.edits for problem in found)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_it_reads_the_examples_of_all_rules(rule):
    """Nothing raises, places lie in the text, edits fit it."""
    for other in RULES.values():
        for name in ("Example", "Instead"):
            file, text, _ = section(other.page, name)
            _, found = problems(rule, file, text)
            for problem in found:
                assert 0 <= problem.span.start <= problem.span.end <= len(text)
                assert len(problem.fix) <= 3
                if problem.edits:
                    put(text, problem.edits)


def test_a_page_says_why_before_its_example():
    for rule in RULES.values():
        why = rule.page.partition("\n\n")[2].partition("\nExample\n")[0]
        assert len(why.split()) >= 15, rule.id
