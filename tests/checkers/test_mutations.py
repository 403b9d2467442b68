"""What mutation testing tries, and what it leaves alone."""

from __future__ import annotations

import ast

import pytest
from mutations import mutated, mutations


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("x = a < b", ["a <= b", "a >= b"]),
        ("x = a is b", ["a is not b"]),
        ("x = a and b", ["a or b"]),
        ("x = a + b", ["a - b"]),
        ("x = ~a", ["a"]),
        ("x = 3", ["4"]),
        ("x = 0.5", ["1.0"]),
        ("x = True", ["False"]),
        ("x = 'lost-write'", ["'lost-write-changed'"]),
        ("x = min(a)", ["max"]),
        ("x = find(a, 'left')", ["'right'"]),
        ("x += y", ["x -= y", "pass"]),
        ("x[a] = b", ["pass"]),
        ("f(a)", ["pass"]),
        ("if a:\n    x = b", ["not a"]),
        ("def f():\n    return a", ["return None"]),
        ("for x in a:\n    continue", ["break"]),
        ("raise ValueError('in vain')", ["pass"]),
    ],
)
def test_a_change_of_each_sort(code: str, changes: list[str]) -> None:
    assert [mutation.after for mutation in mutations(code)] == changes


@pytest.mark.parametrize(
    "code",
    [
        "'''A docstring.'''",
        "x: int | None = y",
        "def f(a: Literal[1], b: dict[str, int]) -> tuple[1, 2]:\n    '''Words.'''",
        "if TYPE_CHECKING:\n    x = 1",
        "__all__ = ['a', 'b']",
        "x = f'{a + 1} times'",
        "x = 'more than one word'",
        "x = f'{a}' if a > 1 else b",
        "x = 'more words' + (a and b)",
        "def f(a) -> str:\n    if a > 1:\n        return f'{a} times'\n    return 'one time'",
        "Alias = dict[str, int] | None",
        "x = zip(a, b, strict=True)",
        "assert a is not None",
    ],
)
def test_words_and_types_are_left_alone(code: str) -> None:
    assert mutations(code) == []


def test_a_mutation_is_made_where_it_was_found() -> None:
    code = "class A:\n\n    def f(self, x=1):\n        if x > 2:\n            x = 3\n        return x\n"
    found = [(mutation.function, mutation.line, mutation.after) for mutation in mutations(code)]
    assert found == [
        (None, 3, "2"),
        ("A.f", 4, "x >= 2"),
        ("A.f", 4, "x <= 2"),
        ("A.f", 4, "3"),
        ("A.f", 5, "4"),
        ("A.f", 6, "return None"),
    ]
    for mutation, tree in mutated(code):
        pairs = zip(ast.unparse(tree).splitlines(), code.splitlines(), strict=True)
        assert [number for number, (new, old) in enumerate(pairs, 1) if new != old] == [mutation.line]
