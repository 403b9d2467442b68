"""A cycle of dependencies: transactions in a circle, each of which must come before the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.report.charts.style import Spec, whole
from checkers.finding import Edge

CYCLE = "cycle"
WIDTH, HEIGHT = 680, 300
_ACROSS, _UP = 150, 88
"""Half of the circle's width and height, in pixels."""
_BEND, _PIECES, _CLEAR = 0.22, 12, 24
"""How far an edge bends outwards, of its length; how many straight pieces it is drawn with; its distance from dots."""

_ROOM, _LETTER = 165, 7.5
"""Pixels for the label of a dot, and of a letter of a relation."""

RELATIONS: Mapping[str, str] = {
    "ww": "wrote what the next one overwrote",
    "wr": "wrote what the next one read",
    "rw": "read what the next one overwrote",
    "process": "came before the next one in the same client",
    "realtime": "had ended before the next one began",
}
"""What an edge from one transaction to the next says."""


def spec() -> Spec:
    """Dots for the transactions, bent arrows with their relations between them."""

    def at(field: str, size: int) -> Spec:
        scale = {"domain": [0, size] if field == "x" else [size, 0], "nice": False, "zero": False}
        return {"field": field, "type": "quantitative", "axis": None, "scale": scale}

    x, y = at("x", WIDTH), at("y", HEIGHT)
    dot = {"type": "point", "filled": True, "size": 900, "color": "var(--primary)", "opacity": 1}
    arrow = {"type": "point", "shape": "triangle", "filled": True, "size": 90, "color": "var(--soft)", "opacity": 1}
    relation = {"type": "text", "fontSize": 12, "fontWeight": 600, "color": "var(--bad)"}
    told = {"type": "text", "fontSize": 11, "limit": _ROOM, "align": {"expr": "datum.align"}}
    drawn = {
        "width": WIDTH,
        "height": HEIGHT,
        "autosize": "none",
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "data": {"name": "paths"},
                "mark": {"type": "line", "color": "var(--soft)", "strokeWidth": 1.6},
                "encoding": {"detail": {"field": "edge"}, "order": {"field": "piece"}},
            },
            {
                "data": {"name": "heads"},
                "mark": arrow,
                "encoding": {"angle": {"field": "angle", "type": "quantitative", "scale": None}},
            },
            {"data": {"name": "relations"}, "mark": relation, "encoding": {"text": {"field": "relation"}}},
            {
                "data": {"name": "operations"},
                "encoding": {"tooltip": {"field": "told"}},
                "layer": [
                    {"mark": dot},
                    {
                        "mark": {"type": "text", "fontWeight": 700, "color": "var(--on-primary)"},
                        "encoding": {"text": {"field": "name"}},
                    },
                    {
                        "mark": {**told, "dx": {"expr": "datum.dx"}, "dy": {"expr": "datum.dy"}},
                        "encoding": {"text": {"field": "told"}},
                    },
                ],
            },
        ],
    }
    return whole(drawn)


def data(edges: Sequence[Edge], operations: Sequence[int], told: Mapping[int, str]) -> dict[str, list[dict[str, Any]]]:
    """The rows that are drawn: `operations` are T1, T2, ... in the order of the sentence, `told` describes them."""
    place = {index: _on_circle(number, len(operations)) for number, index in enumerate(operations)}
    known = [edge for edge in edges if edge.before in place and edge.after in place]
    paths, heads, relations = [], [], []
    for number, edge in enumerate(known):
        path = _path(place[edge.before], place[edge.after])
        paths += [{"edge": number, "piece": piece, "x": x, "y": y} for piece, (x, y) in enumerate(path)]
        heads.append(_head(path))
        relations.append({"relation": edge.relation, **_beside(path, edge.relation)})
    dots = [
        {"name": f"T{number}", "told": told.get(index, ""), **_dot(*place[index])}
        for number, index in enumerate(operations, 1)
    ]
    return {"operations": dots, "paths": paths, "heads": heads, "relations": relations}


_Point = tuple[float, float]


def _on_circle(number: int, of: int) -> _Point:
    """The first on the left, the others clockwise."""
    turn = math.pi + 2 * math.pi * number / of
    return round(WIDTH / 2 + _ACROSS * math.cos(turn), 1), round(HEIGHT / 2 + _UP * math.sin(turn), 1)


def _dot(x: float, y: float) -> dict[str, Any]:
    """A dot, and where its label stands: outside of the circle."""
    if abs(x - WIDTH / 2) < _ACROSS / 2:
        return {"x": x, "y": y, "align": "center", "dx": 0, "dy": -26 if y < HEIGHT / 2 else 26}
    left = x < WIDTH / 2
    return {"x": x, "y": y, "align": "right" if left else "left", "dx": -22 if left else 22, "dy": 0}


def _path(start: _Point, end: _Point) -> list[_Point]:
    """A bow from one dot to the other, bent to the left of its direction, that stays clear of both."""
    (x, y), (to_x, to_y) = start, end
    across, down = to_x - x, to_y - y
    long = math.hypot(across, down) or 1.0
    bend_x, bend_y = (x + to_x) / 2 + 2 * _BEND * down, (y + to_y) / 2 - 2 * _BEND * across
    clear = _CLEAR / long
    path = []
    for piece in range(_PIECES + 1):
        t = clear + (1 - 2 * clear) * piece / _PIECES
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        path.append((round(a * x + b * bend_x + c * to_x, 1), round(a * y + b * bend_y + c * to_y, 1)))
    return path


def _head(path: Sequence[_Point]) -> dict[str, float]:
    """The arrow's head at the end of a path; a triangle that is not turned points upwards."""
    (x, y), (end_x, end_y) = path[-2:]
    return {"x": end_x, "y": end_y, "angle": round(math.degrees(math.atan2(end_y - y, end_x - x)) + 90, 1)}


def _beside(path: Sequence[_Point], word: str) -> dict[str, float]:
    """Where the relation stands: outside of the bow's middle, by as much as the word needs."""
    (x, y), middle, (to_x, to_y) = path[0], path[len(path) // 2], path[-1]
    long = math.hypot(to_x - x, to_y - y) or 1.0
    right, up = (to_y - y) / long, (x - to_x) / long
    away = 12 + abs(right) * _LETTER * len(word) / 2
    return {"x": round(middle[0] + away * right, 1), "y": round(middle[1] + away * up, 1)}
