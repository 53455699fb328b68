"""Every small change of a module that a test should notice.

Most are cosmic-ray's: an operator of Python for another, a number for its neighbour, a
condition for its opposite, a loop that does not run. To these comes one that a protocol
needs most: a statement that is left out.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

import attrs

Place = tuple[int, int]
"""Line, from 1, and column, from 0."""

LEFT_OUT = "LeaveOutStatement"

_NOT_USED = re.compile(
    r"Variable"  # needs to be told which variables
    r"|Comparison.*_Is|Comparison.*Is_|Comparison.*IsNot_"  # but for those below
    r"|Binary.*_(Pow|Div)$"  # huge numbers and fractions: noticed by anybody
)
_USED_ALL_THE_SAME = re.compile(r"Comparison.*_(Is_IsNot|IsNot_Is)$")

_STATEMENTS = (
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.Break,
    ast.Continue,
    ast.Delete,
    ast.Expr,
    ast.Raise,
    ast.Return,
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef


@attrs.frozen
class Mutant:
    """One change of one module.

    Attributes:
        module: Its path.
        function: Qualified name of the class or function; empty in the module itself.
        operator: What kind of change it is.
        before: The line that changes, as it is.
        after: The same line, changed.
        source: The whole module, changed.
    """

    module: str
    function: str
    operator: str
    before: str
    after: str
    source: str = attrs.field(repr=False, eq=False)


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """The mutants of a module, in the order of operators and places, each once.

    Left out is what changes nothing that runs (annotations, bodies of protocols, tests
    for a type checker) or cannot be compiled.

    Args:
        module: Its path.
        source: Its text.
    """
    tree = ast.parse(source)
    never_run = list(_never_run(tree))
    seen = {ast.dump(tree)}
    for operator, (begin, end), changed in (*_left_out(tree, source), *of_tool(source)):
        if any(first <= begin and end <= last for first, last in never_run):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                meaning = ast.dump(ast.parse(changed))
                compile(changed, module, "exec", dont_inherit=True)
        except SyntaxError:
            continue
        if meaning in seen:
            continue
        seen.add(meaning)
        before, after = _difference(source, changed)
        yield Mutant(module, _around(tree, begin), operator, before, after, changed)


def operators(names: list[str]) -> list[str]:
    """Which of the tool's operators are used.

    An identity is only exchanged for its opposite, and nothing for an identity: for
    equality it differs by what the interpreter caches, and in order it is an error.
    """
    return sorted(
        name
        for name in names
        if _USED_ALL_THE_SAME.search(name) or not _NOT_USED.search(name)
    )


def of_tool(source: str) -> Iterator[tuple[str, tuple[Place, Place], str]]:
    """Operator, place and text of each change that cosmic-ray makes."""
    from cosmic_ray.ast import ast_nodes, get_ast  # noqa: PLC0415 - an extra
    from cosmic_ray.mutating import mutate_code  # noqa: PLC0415 - same
    from cosmic_ray.plugins import get_operator, operator_names  # noqa: PLC0415 - same

    nodes = list(ast_nodes(get_ast(source)))
    for name in operators(list(operator_names())):
        operator = get_operator(name)()
        places = [place for n in nodes for place in operator.mutation_positions(n)]
        for occurrence, place in enumerate(places):
            changed = mutate_code(source, operator, occurrence)
            yield name.rpartition("/")[2], place, changed


def _left_out(
    tree: ast.Module, source: str
) -> Iterator[tuple[str, tuple[Place, Place], str]]:
    """The same of each statement in a function that can be left out."""
    functions = [node for node in ast.walk(tree) if isinstance(node, _Function)]
    for function in functions:
        for node in _own_statements(function):
            begin, end = _extent(node)
            lines = source.splitlines(keepends=True)
            first, rest = lines[begin[0] - 1][: begin[1]], lines[end[0] - 1][end[1] :]
            # What follows stays on its lines.
            empty = ["\n"] * (end[0] - begin[0])
            lines[begin[0] - 1 : end[0]] = [f"{first}pass{rest}", *empty]
            yield LEFT_OUT, (begin, end), "".join(lines)


def _own_statements(function: _Function) -> Iterator[ast.stmt]:
    """Simple statements of a function, without those of functions inside it."""
    to_visit: list[ast.AST] = [*reversed(function.body)]
    while to_visit:
        node = to_visit.pop()
        if isinstance(node, _STATEMENTS):
            says_nothing = isinstance(node, ast.Expr) and isinstance(
                node.value, ast.Constant
            )
            declares = isinstance(node, ast.AnnAssign) and node.value is None
            if not says_nothing and not declares:
                yield node
        elif not isinstance(node, _Function):
            to_visit += reversed(list(ast.iter_child_nodes(node)))


def _never_run(tree: ast.Module) -> Iterator[tuple[Place, Place]]:
    """Where a change would not be seen by whoever runs the module."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as unread):
                yield _extent(unread)
            case ast.AnnAssign(annotation=unread):
                yield _extent(unread)
            case ast.FunctionDef(returns=ast.expr() as unread):
                yield _extent(unread)
            case ast.AsyncFunctionDef(returns=ast.expr() as unread):
                yield _extent(unread)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield _extent(node)
            case ast.ClassDef(bases=[ast.Name(id="Protocol"), *_]):
                yield _extent(node)


def _extent(node: ast.expr | ast.stmt) -> tuple[Place, Place]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _around(tree: ast.Module, place: Place) -> str:
    """Qualified name of what a place is in."""
    around = {
        min([node.lineno, *(each.lineno for each in node.decorator_list)]): node.name
        for node in ast.walk(tree)
        if isinstance(node, _Definition) and place[0] <= (node.end_lineno or 0)
    }
    return ".".join(around[line] for line in sorted(around) if line <= place[0])


def _difference(source: str, changed: str) -> tuple[str, str]:
    """The first line, blank ones aside, in which two texts differ."""
    before, after = (
        [*filter(None, map(str.strip, text.splitlines()))] for text in (source, changed)
    )
    return next((a, b) for a, b in zip(before, after, strict=False) if a != b)
