"""How a benchmark, a comparison of two and a chart look."""

from html import escape
from typing import Any

from kit.show.parts import columns, details, paragraph, section, table_html, wrap
from kit.symbols import printable


def chart_text(chart: Any) -> str:
    return wrap(chart.words)


def chart_html(chart: Any) -> str:
    import base64

    picture = base64.b64encode(chart.png).decode()
    image = f'<img style="max-width:100%" alt="{escape(chart.words)}" src="data:image/png;base64,{picture}">'
    return f'<figure style="margin:8px 0">{image}</figure>'


_DIRECTIONS = {False: "forward", True: "with gradient"}


def _bench_sentence(bench: Any) -> str:
    threads = f"{bench.threads} thread{'s' * (bench.threads != 1)}, " if bench.kind == "cpu" else ""
    torch, python = bench.versions["torch"], bench.versions["python"]
    return f"{bench.device} ({threads}torch {torch}, Python {python}, {bench.date})"


def _bench_contenders(bench: Any) -> list[tuple[str, str]]:
    rows = []
    for c in bench.contenders:
        code = {None: "", True: ", CUDA", False: ", no CUDA"}[c.cuda]
        built = f", compiled{code}: {c.library}" if c.library else ""
        rows.append((c.name, c.version + built if c.state == "timed" else f"NOT TIMED: {printable(c.why)}"))
    return rows


def _bench_speeds(bench: Any) -> list[tuple[str, ...]]:
    """(contender, direction, geometric mean, least, greatest, cases at least as fast) against the baseline."""
    rows = []
    for name in bench.timed:
        for backward, direction in _DIRECTIONS.items():
            speeds = bench.speeds(name, backward)
            if name != bench.baseline and speeds:
                won = f"{sum(s >= 1 for s in speeds)} of {len(speeds)}"
                rows.append(
                    (name, direction, *map(_times, (bench.mean(name, backward), min(speeds), max(speeds))), won)
                )
    return rows


_SPEEDS_HEAD = ("contender", "direction", "mean", "least", "most", "at least as fast")


def _times(speed: float) -> str:
    return f"{speed:.3g}x"


def _bench_rows(bench: Any) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """The head, a row for each case, and why results have no time."""
    timed = bench.timed
    rows, notes = [], []
    for row in bench.rows:
        results = {result.contender: result for result in row.results}
        cells = []
        for name in timed:
            result = results.get(name)
            if result is not None and result.why:
                notes.append(printable(f"{name}, {row.case.operation} {_case(row.case)}: {result.why}"))
                cells.append(f"NO TIME ({len(notes)})")
            else:
                cells.append("-" if result is None else _result(result))
        rows.append((row.case.operation, _case(row.case), *cells))
    return ("operation", "rows x features > groups", *timed), rows, notes


def _case(case: Any) -> str:
    direction = ", gradient" if case.backward else ""
    return f"{_power(case.rows)} x {case.features} > {_power(case.groups)} {case.index}{direction}"


def _power(number: int) -> str:
    digits = str(number)
    return f"{digits[0]}e{len(digits) - 1}" if number >= 10**4 and not digits[1:].strip("0") else digits


def _result(result: Any) -> str:
    """The median, half the distance of the quartiles in per cent of it, and the fraction of a copy's bandwidth."""
    spread = (result.high - result.low) / 2 / result.seconds
    return f"{_short(result.seconds)} ±{spread:.0%} {result.fraction:.0%}"


def _short(seconds: float) -> str:
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if seconds * s >= 1), (1e6, "us"))
    return f"{seconds * scale:.3g} {unit}"


_EACH_RESULT = "the median of the times, half the distance of their quartiles, the part of a copy's bandwidth reached"


def bench_text(bench: Any) -> str:
    """Who is how much faster, then every case."""
    lines = [_bench_sentence(bench), f"a copy moves {bench.bandwidth / 1e9:.3g} GB/s, read and written", ""]
    width = max(len(c.name) for c in bench.contenders)
    lines += [wrap(said, f"  {name:<{width}}  ", " " * (width + 4)) for name, said in _bench_contenders(bench)]
    speeds = _bench_speeds(bench)
    if speeds:
        lines += ["", f"Speed relative to {bench.baseline}, geometric means", *columns([_SPEEDS_HEAD, *speeds])]
    head, rows, notes = _bench_rows(bench)
    if rows:
        lines += ["", wrap(f"Each: {_EACH_RESULT}", "", ""), *columns([head, *rows])]
    lines += [wrap(note, f"  ({number}) ", " " * 6) for number, note in enumerate(notes, 1)]
    lines += [wrap(said, "left out: ", " " * 10) for said in bench.left_out]
    lines += [wrap(said, "note: ", " " * 6) for said in bench.notes]
    return "\n".join(lines)


def bench_html(bench: Any) -> str:
    out = [paragraph(f"<strong>{escape(_bench_sentence(bench))}</strong>", size=15)]
    out.append(paragraph(f"a copy moves {bench.bandwidth / 1e9:.3g} GB/s, read and written", faint=True))
    out.append(table_html(_bench_contenders(bench)))
    speeds = _bench_speeds(bench)
    if speeds:
        out.append(paragraph(f"<strong>Speed relative to {escape(bench.baseline)}</strong>, geometric means"))
        out.append(table_html(speeds, _SPEEDS_HEAD))
    head, rows, notes = _bench_rows(bench)
    if rows:
        table = paragraph(f"Each: {escape(_EACH_RESULT)}.", faint=True) + table_html(rows, head)
        out.append(details(f"<strong>Every case ({len(rows)})</strong>", table))
    if notes:
        out.append("<ol>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ol>")
    out += [paragraph(f"left out: {escape(said)}") for said in bench.left_out]
    out += [paragraph(f"note: {escape(said)}") for said in bench.notes]
    return section("".join(out), width=80)


_COMPARED_HEAD = ("contender", "direction", "cases", "here", "there", "as fast as there")


def _comparison_rows(shown: Any) -> list[tuple[str, ...]]:
    return [
        (row.contender, _DIRECTIONS[row.backward], str(row.cases), *map(_times, (row.here, row.there, row.seconds)))
        for row in shown.rows
    ]


def comparison_text(shown: Any) -> str:
    """Both machines, then each contender: how much faster than the baseline, here and there."""
    lines = [f"here:  {_bench_sentence(shown.here)}", f"there: {_bench_sentence(shown.there)}", ""]
    if not shown.rows:
        return "\n".join([*lines, "they have no case in common"])
    lines.append(f"Speed relative to {shown.baseline}, geometric means of the common cases")
    return "\n".join([*lines, *columns([_COMPARED_HEAD, *_comparison_rows(shown)])])


def comparison_html(shown: Any) -> str:
    out = table_html([("here", _bench_sentence(shown.here)), ("there", _bench_sentence(shown.there))])
    if not shown.rows:
        return section(out + paragraph("they have no case in common"), width=80)
    out += paragraph(
        f"<strong>Speed relative to {escape(shown.baseline)}</strong>, geometric means of the common cases"
    )
    return section(out + table_html(_comparison_rows(shown), _COMPARED_HEAD), width=80)
