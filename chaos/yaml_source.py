"""A YAML file that remembers where everything stood, so that an error can name its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from chaos.errors import BadInput

Place = tuple[str | int, ...]


@dataclass
class Source:
    """The content of one YAML file as plain data, and the line of every key and element."""

    file: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)

    def fail(self, path: Place, message: str, error: type[BadInput] = BadInput) -> NoReturn:
        """Raise BadInput, or its subclass `error`, at the line of `path` or of the nearest parent that has one."""
        at = path
        while at and at not in self.lines:
            at = at[:-1]
        raise error(message, self.file, self.lines.get(at))

    def unknown(self, path: Place, what: str, known: Iterable[str]) -> NoReturn:
        """Raise BadInput for a name that does not exist, naming the nearest that does."""
        self.fail(path, f"unknown {what} {path[-1]!r}{nearest(str(path[-1]), sorted(known))}")


def nearest(name: str, choices: list[str]) -> str:
    """`; did you mean 'x'?` or the list of what there is, to end a message with."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(choices)}" if choices else "; none is valid here"


def read_yaml(path: Path) -> Source:
    """Read a YAML file. Raises BadInput when it cannot be read or parsed, or names a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", path) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Source:
    """Like `read_yaml`, on a text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadInput(f"not YAML: {error.problem or error}", file, None if mark is None else mark.line + 1) from error
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {error}", file) from error
    source = Source(file, None)
    source.data = None if root is None else _build(root, (), source, yaml.SafeLoader(""))
    return source


def _build(node: yaml.Node, path: Place, source: Source, loader: yaml.SafeLoader) -> Any:
    source.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node)) if isinstance(key_node, yaml.ScalarNode) else None
            source.lines[(*path, key or "?")] = key_node.start_mark.line + 1
            if key is None:
                source.fail((*path, "?"), "a key must be a plain word")
            if key in mapping:
                source.fail((*path, key), f"the key {key!r} stands here twice")
            mapping[key] = _build(value_node, (*path, key), source, loader)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, number), source, loader) for number, item in enumerate(node.value)]
    return loader.construct_object(node)
