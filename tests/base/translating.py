"""Translates the compiled modules to C, and looks for what compiled code does otherwise than Python; a program.

It prints a line for all that the compiler does not like, and one for each comparison that may go wrong compiled:

* ``x is y`` of numbers and tuples: compiled code keeps them as plain values, and makes a new object of one when an
  object is wanted. No two are the same.
* ``x is None`` where the type checker believes that it knows the answer. It may believe too much (an attribute that was
  looked at before has been changed meanwhile, by a call or by another thread), and compiled code believes it: it raises
  `TypeError` as soon as it reads what the type checker excludes.
"""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mypy.fscache import FileSystemCache
from mypy.nodes import ComparisonExpr, Expression, IndexExpr, MemberExpr, NameExpr
from mypy.types import (
    AnyType,
    Instance,
    NoneType,
    ProperType,
    TupleType,
    Type,
    TypeVarType,
    UnionType,
    get_proper_type,
)
from mypyc.build import construct_groups, get_mypy_config
from mypyc.codegen import emitmodule
from mypyc.errors import Errors
from mypyc.options import CompilerOptions

_VALUES: Final = ("builtins.int", "builtins.float", "builtins.tuple")


# mypy knows line and columns of an expression, and not its file: what it begins with must tell
Place = tuple[int, int, int | None, int | None, str]


def head_of(node: ast.expr) -> str:
    """The last name of an operand, or what it is."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
    return type(node).__name__


def head_in_mypy(expression: Expression) -> str:
    """As `head_of`."""
    match expression:
        case NameExpr() | MemberExpr():
            return expression.name
        case IndexExpr():
            return "Subscript"
    return type(expression).__name__.removesuffix("Expr")


def comparisons(paths: list[str]) -> dict[Place, list[str]]:
    """Where comparisons stand in the source."""
    found: dict[Place, list[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Compare):
                place = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, head_of(node.left))
                found.setdefault(place, []).append(f"{path}:{node.lineno}: `{ast.unparse(node)}`")
    return found


def complaints(types: dict[Expression, Type], places: dict[Place, list[str]]) -> Iterator[str]:
    """Doubtful comparisons by identity, of expressions of these types; where several may be meant, each."""
    for found in types:
        if isinstance(found, ComparisonExpr):
            head = head_in_mypy(found.operands[0])
            place = (found.line, found.column, found.end_line, found.end_column, head)
            for operator, left, right in found.pairwise():
                wrong = judge(left, right, types) if operator in ("is", "is not") else ""
                for where in places.get(place, ()) if wrong else ():
                    yield f"{where} {wrong}"


def judge(left: Expression, right: Expression, types: dict[Expression, Type]) -> str:
    """What is wrong with comparing these two, or nothing."""
    kinds = [get_proper_type(types[side]) for side in (left, right) if side in types]
    if isinstance(right, NameExpr) and right.name == "None":
        if isinstance(kinds[0], NoneType):
            return "is asked of what is always None, to the type checker"
        return "" if may_be_none(kinds[0]) else "is asked of what is never None, to the type checker"
    return "compares plain values" if all(is_value(kind) for kind in kinds) else ""


def may_be_none(kind: ProperType) -> bool:
    """Does the type checker think that there may be ``None``?"""
    if isinstance(kind, UnionType):
        return any(may_be_none(get_proper_type(item)) for item in kind.items)
    if isinstance(kind, NoneType | AnyType | TypeVarType):
        return True
    return isinstance(kind, Instance) and kind.type.fullname == "builtins.object"


def is_value(kind: ProperType) -> bool:
    """Is this kept as a plain value?"""
    if isinstance(kind, UnionType):
        return any(is_value(get_proper_type(item)) for item in kind.items)
    return isinstance(kind, TupleType) or (isinstance(kind, Instance) and kind.type.fullname in _VALUES)


def main(target: str) -> None:
    """Translate into that directory."""
    found = runpy.run_path("setup.py", run_name="setup")
    compiler_options = CompilerOptions(multi_file=True, group_name=found["GROUP"], target_dir=target)
    cache = FileSystemCache()
    words = ["--config-file", "setup.cfg", *found["modules"]()]
    compiled, sources, options = get_mypy_config(words, None, compiler_options, cache)
    groups = construct_groups(compiled, False, True, found["GROUP"])
    result = emitmodule.parse_and_typecheck(sources, options, compiler_options, groups, cache)
    for complaint in complaints(result.types, comparisons(words[2:])):
        print(complaint)
    errors = Errors(options)
    emitmodule.compile_modules_to_c(result, compiler_options=compiler_options, errors=errors, groups=groups)
    for message in errors.new_messages():
        print(message)


if __name__ == "__main__":
    main(sys.argv[1])
