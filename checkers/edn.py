"""EDN, the notation of Clojure, as far as histories need it: read into what JSON would give, and written.

Keywords and symbols become strings without their colon (`:ok` is "ok"), vectors, lists and sets become lists, maps
become dicts, ratios and decimals floats; a tag that is not known is dropped and its value kept. The language is
described at https://github.com/edn-format/edn.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from checkers.models import freeze

_TOKEN = re.compile(
    r"""
    [\s,]+ | ;[^\n]*                            # between forms
    | ( [][(){}]                                # brackets
      | \#\{ | \#_ | \#\#-?\w+ | \#[^\s,\[({"]*   # set, discard, symbolic value, tag
      | "(?:[^"\\]|\\.)*" | "                   # string, or the beginning of one that does not end
      | \\(?:[a-zA-Z]+\w*|.|\n)                 # character
      | \^                                      # metadata
      | [^\s,\[\](){}";]+                       # everything else is one atom
      )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_CHARACTERS = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r", "formfeed": "\f", "backspace": "\b"}
_CONSTANTS = {
    "nil": None,
    "true": True,
    "false": False,
    "##Inf": float("inf"),
    "##-Inf": float("-inf"),
    "##NaN": float("nan"),
}
_INTEGER = re.compile(r"[+-]?\d+N?")
_RATIO = re.compile(r"([+-]?\d+)/(\d+)")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?M?")
_NAME = re.compile(r":[A-Za-z][\w.*+!?/-]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "b": "\b"}
_MOST_KNOWN = 100_000


class EdnError(ValueError):
    """The text is not EDN; the message says what is wrong, and `line` where, counted from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class Pair(list[Any]):
    """A vector that a tag marks as an entry of a map: a key and a value, as histories of several keys have them."""


def read(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """The forms of a text, each with the number of the line on which it ended.

    The items of a vector or list that holds everything are given one by one, so a history may be one vector of
    operations, or operations that follow each other. Raises EdnError.
    """
    return _Reader().forms(lines)


def loads(text: str) -> Any:
    """The one form of a text. Raises EdnError."""
    forms = [form for _, form in _Reader(unwraps=False).forms(text.splitlines(keepends=True))]
    if len(forms) != 1:
        raise EdnError(1, f"{len(forms)} forms where one was expected")
    return forms[0]


class _Reader:
    def __init__(self, unwraps: bool = True) -> None:
        self.unwraps = unwraps
        self.wrapper = ""  # what closes the vector or list that holds everything
        self.stack: list[tuple[str, list[Any], int]] = []  # bracket, items, line
        self.prefixes: list[tuple[int, str]] = []  # depth, and the tag, `#_`, `^` or `^^` that awaits a form
        self.known: dict[str, Any] = dict(_CONSTANTS)
        self.pairs: dict[str, tuple[str, Any]] = {}
        self.line = 0

    def forms(self, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
        begun, cut = "", _TOKEN.findall
        for self.line, text in enumerate(lines, 1):
            if not (begun or self.stack or self.prefixes) and (fields := self._fields(text)) is not None:
                yield self.line, fields
                continue
            tokens = cut(begun + text)
            if '"' in tokens:  # a string goes on in the next line
                begun += text
                continue
            begun = ""
            yield from self._parse(tokens)
        if begun:
            raise EdnError(self.line, "a string does not end")
        if self.stack:
            bracket, _, opened = self.stack[-1]
            raise EdnError(opened, f"{bracket} is never closed")
        if self.prefixes:
            raise EdnError(self.line, f"{self.prefixes[-1][1]} is followed by nothing")
        if self.wrapper:
            raise EdnError(self.line, f"the text ends before the {self.wrapper} that closes it")

    def _fields(self, line: str) -> dict[str, Any] | None:
        """The map that is alone on its line, pair by pair as a printer lays it out; None when it is anything else.

        Most pairs of a history occur again and again (`:type :invoke`), and are known then; that is several times
        faster than token by token. A comma inside a value makes two pieces that are not pairs.
        """
        text = line.strip().removeprefix("#jepsen.history.Op")
        if text[:1] != "{" or text[-1:] != "}" or ";" in text:
            return None
        fields, known = {}, self.pairs
        for part in text[1:-1].split(", "):
            pair = known.get(part) or self._pair(part)
            if pair is None:
                return None
            fields[pair[0]] = pair[1]
        return fields

    def _pair(self, part: str) -> tuple[str, Any] | None:
        name, _, text = part.partition(" ")
        if not _NAME.fullmatch(name):
            return None
        if text.isdecimal():
            return name[1:], int(text)
        unwraps, self.unwraps = self.unwraps, False
        try:
            values = [value for _, value in self._parse(_TOKEN.findall(text))]
        except EdnError:
            values = []
        whole = not (self.stack or self.prefixes)
        self.unwraps = unwraps
        self.stack.clear()
        self.prefixes.clear()
        if len(values) != 1 or not whole:
            return None
        pair = name[1:], values[0]
        if not isinstance(values[0], (list, dict)) and len(self.pairs) < _MOST_KNOWN:
            self.pairs[part] = pair
        return pair

    def _parse(self, tokens: list[str]) -> Iterator[tuple[int, Any]]:
        stack, known, prefixes = self.stack, self.known, self.prefixes
        for token in tokens:
            if token in known:
                value = known[token]
            elif not token:
                continue
            elif token in _CLOSES:
                if self.unwraps and token in "[(" and not (stack or prefixes or self.wrapper):
                    self.wrapper = _CLOSES[token]
                else:
                    stack.append((token, [], self.line))
                continue
            elif token in "])}":
                if not stack and token == self.wrapper:
                    self.wrapper = ""
                    continue
                value = self._close(token)
            elif token[0] in "#^":
                prefixes.append((len(stack), "^^" if token == "^" else token))
                continue
            else:
                value = self._atom(token)
            if prefixes and prefixes[-1][0] == len(stack):
                kept, value = self._apply(value)
                if not kept:
                    continue
            if stack:
                stack[-1][1].append(value)
            else:
                yield self.line, value

    def _close(self, token: str) -> Any:
        if not self.stack:
            raise EdnError(self.line, f"{token} closes nothing")
        bracket, items, opened = self.stack.pop()
        if _CLOSES[bracket] != token:
            raise EdnError(self.line, f"{token} cannot close the {bracket} of line {opened}")
        if self.prefixes and self.prefixes[-1][0] > len(self.stack):
            raise EdnError(self.line, f"{self.prefixes[-1][1]} is followed by nothing")
        if bracket != "{":
            return items
        if len(items) % 2:
            raise EdnError(self.line, "a map has a key without a value")
        try:
            return dict(zip(items[::2], items[1::2], strict=True))
        except TypeError:
            return dict(zip(map(freeze, items[::2]), items[1::2], strict=True))

    def _apply(self, value: Any) -> tuple[bool, Any]:
        """What the prefixes make of a form, and whether there still is one."""
        while self.prefixes and self.prefixes[-1][0] == len(self.stack):
            _, prefix = self.prefixes.pop()
            if prefix == "#_":
                return False, None
            if prefix == "^^":  # the metadata is read; the form that it is about comes next
                self.prefixes.append((len(self.stack), "^"))
                return False, None
            if isinstance(value, list) and prefix.endswith(("Tuple", "MapEntry")):
                value = Pair(value)
        return True, value

    def _atom(self, token: str) -> Any:
        first = token[0]
        if token == '"':
            raise EdnError(self.line, "a string does not end")
        if first == '"':
            return _unescaped(token[1:-1])
        value = self._number(token) if first.isdigit() or first in "+-" else self._word(token)
        if len(self.known) < _MOST_KNOWN:
            self.known[token] = value
        return value

    def _number(self, token: str) -> Any:
        if _INTEGER.fullmatch(token):
            return int(token.removesuffix("N"))
        if _DECIMAL.fullmatch(token):
            return float(token.removesuffix("M"))
        if ratio := _RATIO.fullmatch(token):
            return int(ratio[1]) / int(ratio[2])
        if token[0].isdigit():
            raise EdnError(self.line, f"{token} is no number")
        return token  # a symbol, like -> or +

    def _word(self, token: str) -> str:
        if token[0] != "\\":
            return token.removeprefix(":")
        name = token[1:]
        if len(name) == 5 and name[0] == "u":
            return chr(int(name[1:], 16))
        if len(name) > 1 and name not in _CHARACTERS:
            raise EdnError(self.line, f"{token} is no character")
        return _CHARACTERS.get(name, name)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    name = escape[1]
    return chr(int(name[1:], 16)) if len(name) > 1 else _ESCAPES.get(name, name)


_PLAIN = re.compile(r"[A-Za-z*!_?$%&=<>][\w*!_?$%&=<>.+-]*(/[\w*!_?$%&=<>.+-]+)?")


def dumps(value: Any) -> str:
    """A value of a history in EDN: tables with their keys as strings, everything else as JSON has it."""
    if value is None:
        return "nil"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(dumps, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(key)} {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "#{" + " ".join(map(dumps, value)) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return "##NaN" if math.isnan(value) else "##Inf" if value > 0 else "##-Inf"
    return json.dumps(value, ensure_ascii=False)


def keyword(name: str) -> str:
    """A name as a keyword, or as a string when it cannot be one."""
    return f":{name}" if _PLAIN.fullmatch(name) else dumps(name)
