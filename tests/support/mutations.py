"""Small changes to a program, one at a time: what `tests/mutants.py` tries.

A mutation replaces one expression or statement. Left alone, by rule, is what can change neither a verdict nor a
reported number or name: docstrings, annotations, `if TYPE_CHECKING`, `__all__`, and *words* (an f-string with all
inside it, a string with a blank in it, what is made of those, the message of an exception, and functions that only
make such). The names of kinds, checkers and metrics are strings too, but ones that results carry, so they are changed.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""The boundary moved, and the opposite."""

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}

NAMES = {
    "min": "max",
    "any": "all",
    "minimum": "maximum",
    "argmin": "argmax",
    "nanmin": "nanmax",
    "left": "right",
}
NAMES |= {there: here for here, there in NAMES.items()}
"""Functions, methods and sides that are easily taken for each other."""

LEFT_ALONE = ("strict", "dtype")
"""Arguments by name that only crash when they are changed, or only then when there is a mistake elsewhere."""

_NAME = re.compile(r"[a-zA-Z][\w-]*")
_TEXT = ("str", "str | None")


@dataclass(frozen=True)
class Mutation:
    """One change to one module."""

    line: int
    """Where it is, from 1."""
    statement: range
    """The lines of the statement around it; of one with a body only those before that."""
    function: str | None
    """The outermost function around it, as `Class.method`; None for what runs when the module is imported."""
    before: str
    after: str
    """The source of what is replaced, and of what takes its place."""
    number: int
    """Which of the module's mutations it is."""

    def __str__(self) -> str:
        return f"{self.line}: {self.before} -> {self.after}"


def mutations(source: str) -> list[Mutation]:
    """All mutations of a module, in the order of its lines."""
    return [mutation for mutation, _, _ in _all(ast.parse(source))]


def mutated(source: str) -> Iterator[tuple[Mutation, ast.Module]]:
    """The module with each of its mutations made in turn: always the same tree, so use it before the next."""
    tree = ast.parse(source)
    for mutation, site, new in list(_all(tree)):
        site.put(ast.fix_missing_locations(new))
        yield mutation, tree
        site.put(site.node)


@dataclass(frozen=True)
class _Around:
    """What a node is in."""

    names: tuple[str, ...] = ()
    """Of the classes and of the outermost function."""
    is_function: bool = False
    statement: range = range(0)


@dataclass(frozen=True)
class _Site:
    """A node that may be changed, and where it hangs."""

    node: ast.expr | ast.stmt
    parent: ast.AST
    field: str
    place: int | None
    around: _Around

    def put(self, node: ast.expr | ast.stmt) -> None:
        """Let a node hang here."""
        if self.place is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.place] = node


def _all(tree: ast.Module) -> Iterator[tuple[Mutation, _Site, ast.expr | ast.stmt]]:
    number = 0
    for site in _sites(tree, _Around()):
        node, around = site.node, site.around
        before = ast.unparse(node)
        seen = {before}
        for new in _changes(node, site.parent, site.field):
            after = ast.unparse(new)
            if after not in seen:
                seen.add(after)
                function = ".".join(around.names) if around.is_function else None
                ast.copy_location(new, node)
                found = Mutation(node.lineno, around.statement, function, _short(before), _short(after), number)
                yield found, site, new
                number += 1


def _short(code: str) -> str:
    first, *rest = code.splitlines()
    return f"{first} ..." if rest else first


def _sites(parent: ast.AST, around: _Around) -> Iterator[_Site]:
    for field, value in ast.iter_fields(parent):
        if _is_type(parent, field):
            continue
        inside = around
        if isinstance(parent, (ast.FunctionDef, ast.ClassDef)) and field == "body" and not around.is_function:
            inside = replace(
                around, names=(*around.names, parent.name), is_function=isinstance(parent, ast.FunctionDef)
            )
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            within = replace(inside, statement=_lines(child)) if isinstance(child, ast.stmt) else inside
            if isinstance(child, (ast.expr, ast.stmt)):
                yield _Site(child, parent, field, place, within)
            yield from _sites(child, within)


def _lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(last, statement.lineno) + 1)


def _is_type(parent: ast.AST, field: str) -> bool:
    """Whether a field holds what only a type checker or a reader of the code sees."""
    return (
        field in ("annotation", "returns", "decorator_list", "bases", "type_params", "format_spec")
        or (isinstance(parent, ast.Raise) and field == "exc")
        or (isinstance(parent, ast.ClassDef) and field == "keywords")
        or (isinstance(parent, ast.keyword) and parent.arg in LEFT_ALONE)
    )


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name == "__all__" or _is_alias(node.value):
            return True
        case ast.FunctionDef(returns=ast.expr() as returns) if ast.unparse(returns) in _TEXT:
            found = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value]
            return any(_is_words(value) for value in found)
        case ast.Assign() | ast.AugAssign() | ast.AnnAssign() if node.value is not None:
            return _is_words(node.value)
        case ast.If():
            return all(_is_left_alone(inner) for inner in (*node.body, *node.orelse))
        case ast.expr():
            return _is_words(node)
    return False


def _is_alias(value: ast.expr) -> bool:
    """Whether a value is a type: `NDArray[np.int64]`, `dict[str, int] | None`."""
    match value:
        case ast.Subscript(value=ast.Name(id=name)):
            return name[0].isupper() or name in ("dict", "list", "tuple", "set")
        case ast.BinOp(op=ast.BitOr(), left=left):
            return _is_alias(left)
    return False


def _is_words(node: ast.AST) -> bool:
    """Whether a value is made for a reader: text with blanks in it, or what is put together from such."""
    match node:
        case ast.JoinedStr():
            return True
        case ast.Constant(value=str(text)):
            return not _NAME.fullmatch(text)
        case ast.BinOp(op=ast.Add()):
            return _is_words(node.left) or _is_words(node.right)
        case ast.IfExp():
            return _is_words(node.body) or _is_words(node.orelse)
        case ast.Call(func=ast.Attribute(value=value, attr="join" | "format")):
            return isinstance(value, ast.Constant)
        case ast.Tuple() | ast.List():
            return bool(node.elts) and all(_is_words(inner) for inner in node.elts)
    return False


def _changes(node: ast.expr | ast.stmt, parent: ast.AST, field: str) -> Iterator[ast.expr | ast.stmt]:
    """What a node can be replaced by."""
    if isinstance(parent, (ast.If, ast.While, ast.IfExp, ast.comprehension)) and field in ("test", "ifs"):
        yield from _negated(node)
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[place] = other()
                    yield changed
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield node.operand
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.Constant():
            yield from _constants(node.value)
        case ast.Name(id=name) if name in NAMES and isinstance(parent, ast.Call) and field == "func":
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(attr=name) if name in NAMES:
            yield ast.Attribute(node.value, NAMES[name], node.ctx)
        case ast.Return(value=ast.Constant(value=None | False | True)):
            pass  # false and nothing are the same to who asks; the constant itself is turned
        case ast.Return(value=ast.expr()):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]) | ast.Expr() | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def _negated(test: ast.expr | ast.stmt) -> Iterator[ast.expr]:
    """A condition that no other mutation turns round."""
    if isinstance(test, ast.expr) and not isinstance(test, (ast.Compare, ast.UnaryOp, ast.Constant)):
        yield ast.UnaryOp(ast.Not(), test)


def _constants(value: object) -> Iterator[ast.expr]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1 if isinstance(value, int) and value < 1000 else value * 2 or 1.0)
        case str() if value in NAMES:
            yield ast.Constant(NAMES[value])
        case str() if _NAME.fullmatch(value) and value != "stable":  # a kind of sort
            yield ast.Constant(f"{value}-changed")
