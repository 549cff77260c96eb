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
from mypy.nodes import ComparisonExpr, Expression, NameExpr
from mypy.types import AnyType, NoneType, ProperType, Type, TypeVarType, UnionType, get_proper_type
from mypyc.build import construct_groups, get_mypy_config
from mypyc.codegen import emitmodule
from mypyc.errors import Errors
from mypyc.options import CompilerOptions

_VALUES: Final = ("builtins.int", "builtins.float", "builtins.tuple")


Position = tuple[int, int, int | None, int | None]


def comparisons(paths: list[str]) -> dict[Position, list[str]]:
    """Where comparisons stand: mypy knows the lines of an expression, and not its file."""
    found: dict[Position, list[str]] = {}
    for path in paths:
        text = Path(path).read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Compare):
                position = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
                found.setdefault(position, []).append(f"{path}:{node.lineno}: `{ast.unparse(node)}`")
    return found


def complaints(types: dict[Expression, Type], places: dict[Position, list[str]]) -> Iterator[str]:
    """Doubtful comparisons by identity, of expressions of these types; where several may be meant, each."""
    for expression in types:
        if isinstance(expression, ComparisonExpr):
            position = (expression.line, expression.column, expression.end_line, expression.end_column)
            for operator, left, right in expression.pairwise():
                wrong = judge(left, right, types) if operator in ("is", "is not") else ""
                for place in places.get(position, ()) if wrong else ():
                    yield f"{place} {wrong}"


def judge(left: Expression, right: Expression, types: dict[Expression, Type]) -> str:
    """What is wrong with comparing these two, or nothing."""
    kinds = [get_proper_type(types[side]) for side in (left, right) if side in types]
    if isinstance(right, NameExpr) and right.name == "None":
        if isinstance(kinds[0], NoneType):
            return "is asked of what is always None, to the type checker"
        return "" if may_be_none(kinds[0]) else "is asked of what is never None, to the type checker"
    return "compares plain values" if any(is_value(kind) for kind in kinds) else ""


def may_be_none(kind: ProperType) -> bool:
    """Does the type checker think that there may be ``None``?"""
    if isinstance(kind, UnionType):
        return any(may_be_none(get_proper_type(item)) for item in kind.items)
    if isinstance(kind, NoneType | AnyType | TypeVarType):
        return True
    return str(kind) == "builtins.object"


def is_value(kind: ProperType) -> bool:
    """Is this kept as a plain value?"""
    if isinstance(kind, UnionType):
        return any(is_value(get_proper_type(item)) for item in kind.items)
    return str(kind).startswith(_VALUES) or str(kind).startswith("tuple[")


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
