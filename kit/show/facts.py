"""How facts look, and the agreement between two parts of an environment."""

from kit.agreement import Agreement
from kit.facts import Facts
from kit.show.parts import paragraph, section, table_html, wrap


def _facts_rows(facts: Facts) -> list[tuple[str, str]]:
    torch, host = facts.torch, facts.host
    gpus = ", ".join(g.name + (f" ({g.capability})" if g.capability else "") for g in host.gpus)
    rows = [
        ("Python", f"{facts.python.version}, {facts.python.executable}"),
        ("torch", f"{torch.version}, {torch.build}" if torch else "not installed"),
    ]
    if torch and torch.architectures:
        rows.append(("torch holds code for", " ".join(torch.architectures)))
    for e in facts.extensions:
        built = f", built for torch {e.built_for_torch}" if e.built_for_torch else ""
        cuda = {None: "", "cpu": ", CPU build"}.get(e.built_for_cuda, f", CUDA {e.built_for_cuda}")
        rows.append((e.package, f"{e.version}{built}{cuda}"))
    rows.append(("GPU", gpus or "none visible"))
    if host.driver:
        rows.append(("driver", host.driver.version + (f", runs CUDA {host.driver.cuda}" if host.driver.cuda else "")))
    if host.toolkits:
        rows.append(("CUDA toolkit", ", ".join(f"{t.version} in {t.path}" for t in host.toolkits)))
    rows.append(
        (
            "system",
            ", ".join(filter(None, [host.os, host.libc, host.compiler, host.container, host.scheduler])),
        )
    )
    rows.append(("packages", f"{len(facts.distributions)} installed"))
    if facts.about.source != "collected":
        rows.append(
            (
                "source",
                f"{facts.about.name}, {facts.about.source}" + (f": {facts.about.note}" if facts.about.note else ""),
            )
        )
    rows += [("could not be read", f"{u.what}: {u.why}") for u in facts.unread]
    return rows


def facts_text(facts: Facts) -> str:
    rows = _facts_rows(facts)
    width = max(len(name) for name, _ in rows)
    return "\n".join(wrap(value, f"{name:<{width}}  ", " " * (width + 2)) for name, value in rows)


def facts_html(facts: Facts) -> str:
    return section(table_html(_facts_rows(facts)))


_AGREES = {True: "agree", False: "DIFFER", None: "cannot tell"}
_AGREEMENT_HEAD = ("what has to agree", "here", "there", "")


def _agreement_rows(agreement: Agreement) -> list[tuple[str, str, str, str]]:
    return [(p.what, p.one, p.other, _AGREES[p.agrees]) for p in agreement.pairs]


def agreement_text(agreement: Agreement) -> str:
    rows = _agreement_rows(agreement)
    if not rows:
        return "nothing to compare: torch is not installed"
    lines = []
    for what, one, other, agrees in rows:
        lines += [f"{agrees:<11}  {what}", f"{'':<13}{one}", f"{'':<13}{other}"]
    return "\n".join(lines)


def agreement_html(agreement: Agreement) -> str:
    rows = _agreement_rows(agreement)
    return section(
        table_html(rows, _AGREEMENT_HEAD) if rows else paragraph("nothing to compare: torch is not installed")
    )
