"""EDN as histories use it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.edn import EdnError, Pair, dumps, keyword, loads, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        (":ok", "ok"),
        (":a/b", "a/b"),
        ("sym->bol", "sym->bol"),
        ("->", "->"),
        ("42", 42),
        ("-7", -7),
        ("12345678901234567890N", 12345678901234567890),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("2.50M", 2.5),
        ("1/4", 0.25),
        ("##Inf", float("inf")),
        (r'"a \"b\" \\ \n \u0041"', 'a "b" \\ \n A'),
        ('"two\nlines; not a comment"', "two\nlines; not a comment"),
        (r"\a", "a"),
        (r"\newline", "\n"),
        (r"\u0041", "A"),
        (r"[\( \)]", ["(", ")"]),
        ("[1 2, 3]", [1, 2, 3]),
        ("(1 (2) ())", [1, [2], []]),
        ("#{1 2}", [1, 2]),
        ("{:a 1, :b {nil [2]}}", {"a": 1, "b": {None: [2]}}),
        ("{[1 2] 3}", {(1, 2): 3}),
        ('#inst "2026-01-02T03:04:05Z"', "2026-01-02T03:04:05Z"),
        ("#jepsen.history.Op{:f :read}", {"f": "read"}),
        ("#a.B [1]", [1]),
        ("#:ns{:a 1}", {"a": 1}),
        ("[1 #_2 3 #_[4 5] #_ #_ 6 7]", [1, 3]),
        ("^{:m 1} [2]", [2]),
        ("[^:m x #_ ^:n y]", ["x"]),
        ('[1 ; two ] " \n 3]', [1, 3]),
        ("#jepsen.independent.Tuple [1 2]", Pair([1, 2])),
    ],
)
def test_reads(text: str, value: Any) -> None:
    found = loads(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("{:a 1}\n{:b}", 2, "a map has a key without a value"),
        ("{:a [1\n 2}", 2, "} cannot close the [ of line 1"),
        ("1\n]", 2, "] closes nothing"),
        ("1\n\n{:a [", 3, "[ is never closed"),
        ('1\n"abc\n', 2, "a string does not end"),
        ("1 \\wrong", 1, "\\wrong is no character"),
        ("[1 12abc]", 1, "12abc is no number"),
        ("{:a\n #_}", 2, "#_ is followed by nothing"),
        ("1 #tag", 1, "#tag is followed by nothing"),
        ("[{:a 1}\n{:b 2}\n", 2, "the text ends before the ] that closes it"),
    ],
)
def test_a_mistake_names_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(EdnError) as caught:
        list(read(text.splitlines(keepends=True)))
    assert (caught.value.line, str(caught.value)) == (line, what)


@pytest.mark.parametrize("text", ["[{:a 1}\n {:a 2}]", "({:a 1} {:a 2})", "{:a 1}\n{:a 2}", "{:a 1} {:a\n2}\n"])
def test_a_history_may_be_one_vector_or_many_maps(text: str) -> None:
    assert [form for _, form in read(text.splitlines(keepends=True))] == [{"a": 1}, {"a": 2}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON)
def test_what_is_written_is_read(value: Any) -> None:
    assert loads(dumps(value)) == value


def test_names_become_keywords_where_they_can() -> None:
    assert [keyword(name) for name in ("ok", "slot-move", "two words", "7")] == [
        ":ok",
        ":slot-move",
        '"two words"',
        '"7"',
    ]


LAID_OUT = st.dictionaries(
    st.sampled_from(["process", "type", "f", "value", "a/b", "null", "nil"]),
    st.recursive(
        st.sampled_from(
            ["nil", "true", ":nil", ":ok", ":timed-out", "0", "-3", "1.5", "2N", "1/2", '"k7"', '"a b"', '", :f "', "x"]
        ),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda items: f"[{' '.join(items)}]")
            | st.lists(inner, max_size=3).map(
                lambda items: "{" + ", ".join(f"{i} {item}" for i, item in enumerate(items)) + "}"
            )
        ),
        max_leaves=6,
    ),
    min_size=1,
)


@given(LAID_OUT, st.sampled_from([", ", " ", ",", " , "]))
def test_a_map_on_one_line_means_what_it_means_on_two(fields: dict[str, str], between: str) -> None:
    text = "{" + between.join(f":{name} {value}" for name, value in fields.items()) + "}"
    assert loads(text) == loads(text[:-1] + "\n}")


def test_a_brace_in_a_comment_closes_nothing() -> None:
    assert loads("{:a 1 ; done}\n :b 2}") == {"a": 1, "b": 2}


def test_what_follows_the_vector_that_holds_everything_is_read_too() -> None:
    assert [form for _, form in read(["[1 2] 3\n"])] == [1, 2, 3]
    with pytest.raises(EdnError, match="closes nothing"):
        list(read(["[1 2] ]\n"]))
