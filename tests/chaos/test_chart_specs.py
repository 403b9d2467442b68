"""Every specification of a chart is one that Vega-Lite understands, with nothing to complain of."""

from __future__ import annotations

import pytest

from chaos.report.charts import cycle, intervals, nodes, staleness, timeline
from chaos.report.charts.cycle import HEIGHT, WIDTH
from chaos.serve import charts as served
from checkers.finding import Edge

vl_convert = pytest.importorskip("vl_convert")

SPECS = {
    **timeline.specs({"faults": [{"lane": 1}], "undone": [{"high": 7.0}]}, ["n1", "n2"]),
    **intervals.specs(),
    **nodes.specs(["n1", "n2"]),
    **served.specs(),
    cycle.CYCLE: cycle.spec(),
    staleness.STALENESS: staleness.spec(),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_compiles_and_names_only_what_exists(name: str) -> None:
    compiled = vl_convert.vegalite_to_vega(SPECS[name], vl_version="6.4")

    assert compiled["marks"]
    named = {data["name"] for data in compiled["data"]}
    assert named


def test_the_zoom_of_a_chart_is_its_parameters() -> None:
    for name in ("throughput", "roles", intervals.IN_ORDER, served.DENSITY):
        compiled = vl_convert.vegalite_to_vega(SPECS[name], vl_version="6.4")
        (x,) = [scale for scale in compiled["scales"] if scale["name"] == "x"]
        assert x["domain"] == [{"signal": "since"}, {"signal": "until"}]


def test_a_broken_specification_does_not_compile() -> None:
    broken = {**SPECS["latency"], "layer": [{"mark": "no such mark"}]}
    with pytest.raises(ValueError, match="conversion failed"):
        vl_convert.vegalite_to_vega(broken, vl_version="6.4")


def test_arrows_of_a_cycle_lead_from_dot_to_dot_within_the_chart() -> None:
    edges = [Edge(7, "rw", 9), Edge(9, "wr", 8), Edge(8, "realtime", 7)]

    drawn = cycle.data(edges, [7, 8, 9], {7: "read", 8: "append", 9: "append"})

    assert [dot["name"] for dot in drawn["operations"]] == ["T1", "T2", "T3"]
    dots = {index: (dot["x"], dot["y"]) for index, dot in zip([7, 8, 9], drawn["operations"], strict=True)}
    for number, edge in enumerate(edges):
        path = [(part["x"], part["y"]) for part in drawn["paths"] if part["edge"] == number]
        for end, index in ((path[0], edge.before), (path[-1], edge.after)):
            assert sum((a - b) ** 2 for a, b in zip(end, dots[index], strict=True)) ** 0.5 < 40
        assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in path)
    assert [relation["relation"] for relation in drawn["relations"]] == ["rw", "wr", "realtime"]
