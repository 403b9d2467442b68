"""The pages of the results browser. They hold no data but what they show; everything is escaped by `markup.tag`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from urllib.parse import quote, urlencode

from chaos.report.charts import intervals
from chaos.report.charts.embed import OURS, VEGA, Charts, figure, missing, zoom
from chaos.report.markup import Html, join, tag
from chaos.report.tables import operation_cells, table
from chaos.report.words import GLYPHS, HOLDS, by_kind, counted, counts, kind, measured
from chaos.result import Result
from chaos.serve import charts as drawn
from chaos.serve.catalogue import Summary
from chaos.serve.explorer import PAGE, Page, Query
from checkers.events import TYPES
from checkers.finding import Anomaly
from checkers.history import History, Operations

_GOOD = {"hold": True, "broken": False, "unknown": None}
_CLASSES = {True: "good", False: "bad", None: "open"}
_DRAWN = 25
"""Operations of a page that are drawn as intervals: more would not be told apart."""
_LISTED = 10
"""Anomalies of one kind on the page of a run: all that are listed stand in results.json."""
MOST = 500
"""Runs on the page of the list."""

COLUMNS: Mapping[str, str] = {
    "began": "began",
    "scenario": "scenario",
    "seed": "seed",
    "server": "server",
    "deployment": "deployment",
    "state": "claims",
    "anomalies": "anomalies",
    "operations": "operations",
}
"""Columns of the list by the field of `Summary` that they show and are sorted by."""


def document(title: str, *content: object, scripts: Sequence[str] = (), charts: Charts | None = None) -> str:
    """A whole page, with the scripts that it needs and those that draw its charts."""
    needed = [*scripts, *((VEGA, OURS) if charts else ())]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="stylesheet", href="/static/report.css"),
        tag("link", rel="stylesheet", href="/static/serve.css"),
        *(tag("script", src=f"/static/{name}", defer=True) for name in needed),
    )
    home = tag("nav", tag("a", "all runs", href="/"), aria_label="cachequake")
    body = tag("body", tag("main", home, *content), charts.block() if charts else Html())
    return join([Html("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n"])


# The list


def listing(runs: Sequence[Summary], asked: Mapping[str, str]) -> str:
    """All runs, or those that were asked for: by words (`q`), sorted by a column (`sort`, with `-` downwards)."""
    shown = _sorted([run for run in runs if _wanted(run, asked.get("q", ""))], asked.get("sort", "-began"))
    search = tag(
        "form",
        tag("label", "Search ", tag("input", type="search", name="q", value=asked.get("q", ""), size=40)),
        tag("input", type="hidden", name="sort", value=asked.get("sort", "-began")),
        tag("button", "Find"),
        tag("p", "Words of scenario, seed, server, verdict or anomaly; all must occur.", class_="meaning"),
        role="search",
        action="/",
    )
    listed = tag(
        "form",
        tag("div", _run_table(shown[:MOST], asked), class_="wide"),
        tag("p", tag("button", "Compare the two that are ticked")),
        action="/compare",
    )
    rest = f"; the first {MOST:,} of them stand here" if len(shown) > MOST else ""
    count = tag("p", f"{len(shown):,} of {len(runs):,} runs{rest}", class_="meaning", role="status")
    charts = Charts()
    trend = _trend(charts, shown)
    return document("cachequake: runs", tag("h1", "Runs"), search, count, trend, listed, charts=charts)


def _wanted(run: Summary, words: str) -> bool:
    about = (
        f"{run.name} {run.scenario} {run.seed} {run.server} {run.deployment} {run.state} {' '.join(run.counts or ())}"
    )
    return all(word in about.lower() for word in words.lower().split())


def _sorted(runs: list[Summary], by: str) -> list[Summary]:
    field = by.removeprefix("-")
    if field not in COLUMNS:
        return runs
    return sorted(runs, key=lambda run: getattr(run, field), reverse=by.startswith("-"))


def _run_table(runs: Sequence[Summary], asked: Mapping[str, str]) -> Html:
    now = asked.get("sort", "-began")
    heads = [tag("th", "", scope="col")]
    for field, name in COLUMNS.items():
        order = {field: "ascending", f"-{field}": "descending"}.get(now)
        after = f"-{field}" if now == field else field
        link = tag("a", name, href=f"/?{urlencode({**asked, 'sort': after})}")
        heads.append(tag("th", link, scope="col", aria_sort=order))
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *map(_run_row, runs)))


def _run_row(run: Summary) -> Html:
    tick = tag("input", type="checkbox", name="run", value=run.name, aria_label=f"compare {run.name}")
    found = ", ".join(f"{count:,} {kind}" for kind, count in sorted((run.counts or {}).items(), key=lambda it: -it[1]))
    began = datetime.fromtimestamp(run.began).astimezone().isoformat(" ", "seconds")
    cells = [
        tick,
        tag("time", began[:19], datetime=began),
        tag("a", run.scenario, href=_link(run.name)),
        run.seed,
        run.server,
        run.deployment,
        _state(run),
        tag("span", f"{run.anomalies:,}", title=found) if run.counts is not None else "",
        f"{run.operations:,}" if run.counts is not None else "",
    ]
    return tag("tr", *(tag("td", cell) for cell in cells))


def _state(run: Summary) -> Html:
    good = _GOOD.get(run.state)
    glyph = GLYPHS[good] if run.state in _GOOD else ""
    return tag("span", f"{glyph} {run.state}".strip(), class_=_CLASSES[good] if run.state in _GOOD else None)


def _trend(charts: Charts, runs: Sequence[Summary]) -> Html:
    """Anomalies of the runs that are listed, in the order of time, one bar a run."""
    checked = sorted((run for run in runs if run.counts is not None), key=lambda run: run.began)[-400:]
    most = max((run.anomalies for run in checked), default=0)
    if not most:
        return Html()
    label = f"Anomalies of {len(checked)} runs in the order of time, at most {most:,}"
    charts.define(drawn.specs())
    rows = drawn.trend(checked, [_link(run.name) for run in checked])
    plot = charts.place("chart-trend", label, [drawn.TREND], {"runs": rows})
    return figure(label, plot) if plot else missing()


# One run


def run_page(run: Summary, result: Result | None, files: Sequence[str]) -> str:
    """What there is of a run. One that is under way is shown live, by a script."""
    links = [
        tag("a", "report", href=f"{_link(run.name)}/report.html"),
        tag("a", "operations", href=f"{_link(run.name)}/operations"),
        tag("a", "everything as one archive", href=f"{_link(run.name)}/archive.tar.gz", download=True),
    ]
    content: list[object] = [
        tag("h1", run.scenario),
        tag(
            "p", f"seed {run.seed}, {run.server or 'server not known yet'}, deployment {run.deployment}", class_="where"
        ),
        tag("p", _state(run)),
    ]
    if result is None and run.state == "running":
        content.append(
            tag("section", tag("h2", "Now", id="now"), tag("div", id="live", data_run=run.name), role="status")
        )
        return document(run.name, *content, scripts=["live.js"])
    if result is None:
        check = tag("code", f"cachequake check {run.name}")
        why = "It records no more, and was never checked: its controller was killed, perhaps. "
        content += [tag("p", why, check, " checks what it recorded until then.", role="status"), *_files(run, files)]
        return document(run.name, *content)
    content.append(tag("ul", *(tag("li", link) for link in links), class_="links"))
    claims = [[it.claim, measured(it.measured), _held(it.holds), it.reason or ""] for it in result.claims]
    content += [tag("h2", "Claims"), table(["claim", "measured", "", ""], claims)] if claims else []
    content += [tag("h2", "Anomalies"), *_anomalies(run, result)] if counts(result) else []
    content += [*_files(run, files), tag("p", "Again: ", tag("code", result.reproduce))]
    return document(run.name, *content)


def _files(run: Summary, files: Sequence[str]) -> list[Html]:
    named = [tag("li", tag("a", name, href=f"{_link(run.name)}/files/{quote(name)}")) for name in files]
    return [tag("h2", "Files"), tag("ul", *named)]


def _anomalies(run: Summary, result: Result) -> Iterator[Html]:
    """Of each kind how many, what it means, and the first of them with a way to the operations that prove it."""
    for number, (name, listed) in enumerate(by_kind(result).items()):
        total, meaning = counts(result)[name], kind(name).meaning
        shown = listed[:_LISTED]
        content = [tag("ol", *(tag("li", anomaly.explanation, " ", _proof(run, anomaly)) for anomaly in shown))]
        if meaning:
            content.insert(0, tag("p", f"{meaning[:1].upper()}{meaning[1:]}.", class_="meaning"))
        if total > len(shown):
            content.append(tag("p", f"{total - len(shown):,} more are counted here and not shown.", class_="meaning"))
        yield tag(
            "details",
            tag("summary", counted(name, total)),
            *content,
            open=number == 0,
            data_kind=name,
            data_count=total,
        )


def _proof(run: Summary, anomaly: Anomaly) -> Html:
    """The way to the operations of an anomaly; some are proved by what the nodes said, and have none."""
    if not anomaly.operations:
        return Html()
    query = Query(index=tuple(anomaly.operations[:PAGE]))
    number = f"{len(anomaly.operations):,} operation{'' if len(anomaly.operations) == 1 else 's'}"
    return tag("a", number, href=_operations_link(run, query), class_="proof")


def _operations_link(run: Summary, query: Query) -> str:
    return f"{_link(run.name)}/operations?{urlencode(query.asked(), safe=',')}"


def _held(holds: bool | None) -> Html:
    return tag("span", f"{GLYPHS[holds]} {HOLDS[holds]}", class_=_CLASSES[holds])


def comparison(runs: Sequence[tuple[Summary, Result]]) -> str:
    """Runs side by side: what is the same, what differs, and the anomalies of each."""
    results = [result for _, result in runs]
    heads = ["", *(tag("a", run.name, href=_link(run.name)) for run, _ in runs)]
    facts: dict[str, list[str]] = {
        "scenario": [result.scenario for result in results],
        "seed": [str(result.seed) for result in results],
        "server": [f"{result.server.name} {result.server.version}" for result in results],
        "deployment": [result.deployment for result in results],
        "claims": [result.claims_verdict for result in results],
        **{f"operations {name}": [f"{result.operations.get(name, 0):,}" for result in results] for name in TYPES},
    }
    facts |= {
        kind: [f"{result.count(kind):,}" for result in results] for kind in _all(result.counts for result in results)
    }
    held = [{claim.claim: claim for claim in result.claims} for result in results]
    facts |= {
        f"claim {name}": [measured(one[name].measured) if name in one else "" for one in held] for name in _all(held)
    }
    rows = [
        tag("tr", tag("th", name, scope="row"), *(tag("td", value) for value in values), class_=_same(values))
        for name, values in facts.items()
    ]
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in heads)))
    listed = tag("div", tag("table", head, tag("tbody", *rows)), class_="wide")
    return document("cachequake: runs side by side", tag("h1", "Side by side"), listed)


def _all(named: Iterable[Mapping[str, object]]) -> list[str]:
    return sorted(set(chain.from_iterable(named)))


def _same(values: Sequence[object]) -> str | None:
    return None if len(set(map(str, values))) == 1 else "differs"


# The operations of a run


def operations_page(run: Summary, history: History, query: Query, page: Page) -> str:
    """One page of the operations that were asked for, where in the run they are, and the first of them as intervals."""
    operations = history.operations
    rows = page.rows.tolist()
    charts = Charts()
    heads = ["operation", "process", "what", "from, ms", "to, ms", "outcome", "node", ""]
    listed = table(heads, [operation_cells(operations, row) for row in rows])
    found = tag("p", f"{page.found:,} of {len(operations):,} operations", class_="meaning", role="status")
    if query.index:
        everything = tag("a", "show all operations", href=_operations_link(run, Query()))
        found = join([found, tag("p", "Only those whose numbers were asked for; ", everything)])
    content = [
        tag("p", tag("a", run.name, href=_link(run.name))),
        _filter(run, operations, query),
        found,
        _density(charts, page),
        _pager(run, query, page),
        _intervals(charts, operations, rows[:_DRAWN]),
        listed,
        _pager(run, query, page),
    ]
    return document(f"operations of {run.name}", tag("h1", "Operations"), *content, charts=charts)


def _filter(run: Summary, operations: Operations, query: Query) -> Html:
    options = {"f": operations.functions, "node": operations.nodes, "outcome": TYPES}
    labels = {"f": "what", "node": "node", "outcome": "outcome"}
    keys = tag("datalist", *(tag("option", value=key) for key in operations.keys[:1000]), id="keys")
    fields = [
        tag("label", "key ", tag("input", name="key", value=query.key, list="keys")),
        tag("label", "client ", _number("client", query.client)),
        *(
            tag("label", f"{labels[name]} ", _choice(name, names, str(getattr(query, name))))
            for name, names in options.items()
        ),
        tag("label", "from ", _number("since_ms", query.since_ms), " ms"),
        tag("label", "to ", _number("until_ms", query.until_ms), " ms"),
        tag("button", "Show"),
    ]
    return tag("form", keys, *fields, role="search", action=f"{_link(run.name)}/operations", class_="filter")


def _choice(name: str, names: Sequence[str], chosen: str) -> Html:
    options = [tag("option", "any", value=""), *(tag("option", it, selected=it == chosen) for it in names)]
    return tag("select", *options, name=name)


def _number(name: str, value: float | None) -> Html:
    return tag(
        "input", type="number", name=name, value=None if value is None else f"{value:g}", min=0, step="any", size=8
    )


def _density(charts: Charts, page: Page) -> Html:
    """Where in the run the operations are that were found."""
    rows = drawn.density(page.starts_ns, page.density)
    if not rows:
        return Html()
    label = "Operations that were found, over the time of the run"
    until = max(row["b"] for row in rows)
    charts.define(drawn.specs())
    plot = charts.place(
        "chart-density",
        label,
        [drawn.DENSITY],
        {"density": rows},
        axis="run",
        whole={drawn.DENSITY: [0, until]},
    )
    return figure(label, zoom("run", "the run"), plot) if plot else missing()


def _intervals(charts: Charts, operations: Operations, rows: Sequence[int]) -> Html:
    """The first operations of a page, drawn as intervals."""
    if not rows:
        return Html()
    shown = intervals.chart(operations, rows, None)
    label = f"The first {len(rows)} of these operations" if len(rows) > 1 else "The operation"
    charts.define(intervals.specs())
    plot = charts.place(
        "chart-intervals",
        label,
        [intervals.IN_ORDER, intervals.TO_SCALE],
        shown["data"],
        axis="intervals",
        params=shown["params"],
        whole=shown["whole"],
        height=shown["height"],
    )
    bar = zoom("intervals", "operations")
    return figure(label, bar, plot) if plot else Html()


def _pager(run: Summary, query: Query, page: Page) -> Html:
    if page.pages == 1:
        return Html()
    here = min(query.page, page.pages)
    links = []
    for name, number in (("first", 1), ("previous", here - 1), ("next", here + 1), ("last", page.pages)):
        if 1 <= number <= page.pages and number != here:
            links.append(tag("a", name, href=_operations_link(run, replace(query, page=number))))
    return tag("nav", f"page {here:,} of {page.pages:,} ({PAGE} each) ", *links, class_="pager", aria_label="pages")


def problem(title: str, what: str) -> str:
    """A page that says what is wrong with a request."""
    return document(title, tag("h1", title), tag("p", what))


def _link(name: str) -> str:
    return f"/runs/{quote(name, safe='')}"
