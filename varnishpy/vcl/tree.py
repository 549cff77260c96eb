"""The typed syntax tree that the parser builds and the code generator walks.

Names are resolved and types checked while parsing (an expression's type decides how its pieces are read), so every
expression node carries its type, and names are symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from varnishpy.vcl.source import Token
from varnishpy.vcl.types import VclType

if TYPE_CHECKING:
    from varnishpy.vcl.symbols import Symbol


@dataclass(slots=True)
class Expr:
    type: VclType


@dataclass(slots=True)
class Const(Expr):
    """A literal: str, int, float, bool or bytes."""

    value: str | float | bytes


@dataclass(slots=True)
class Address(Expr):
    """An IP literal, resolved when the program was compiled."""

    ip: str
    port: int


@dataclass(slots=True)
class RegexConst(Expr):
    pattern: str


@dataclass(slots=True)
class VarRead(Expr):
    symbol: Symbol


@dataclass(slots=True)
class HeaderRead(Expr):
    symbol: Symbol


@dataclass(slots=True)
class Handle(Expr):
    """An ACL, backend, probe, stevedore, sub or object by name; ``symbol`` None is ``default``."""

    symbol: Symbol | None


@dataclass(slots=True)
class Strings(Expr):
    """Pieces of a string, in order; each is a STRING that may be null."""

    pieces: list[Expr]

    @property
    def constant(self) -> str | None:
        """The value, if it is one literal."""
        if len(self.pieces) == 1 and isinstance(self.pieces[0], Const):
            return str(self.pieces[0].value)
        return None


@dataclass(slots=True)
class ToString(Expr):
    operand: Expr


@dataclass(slots=True)
class ToBool(Expr):
    operand: Expr


@dataclass(slots=True)
class ToBody(Expr):
    operand: Expr


@dataclass(slots=True)
class Arithmetic(Expr):
    operator: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Negative(Expr):
    operand: Expr


@dataclass(slots=True)
class Compare(Expr):
    operator: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Match(Expr):
    """A string against a regular expression."""

    negated: bool
    subject: Expr
    regex: Expr


@dataclass(slots=True)
class AclMatch(Expr):
    negated: bool
    address: Expr
    acl: Expr


@dataclass(slots=True)
class Not(Expr):
    operand: Expr


@dataclass(slots=True)
class Logical(Expr):
    operator: str  # "and" or "or"
    operands: list[Expr]


@dataclass(slots=True)
class PropertyRead(Expr):
    name: str
    operand: Expr


@dataclass(slots=True)
class RegSub(Expr):
    all: bool
    subject: Expr
    regex: Expr
    replacement: Expr


@dataclass(slots=True)
class Call(Expr):
    """A VMOD function, method or constructor; ``arguments`` by Python parameter name, in order of evaluation."""

    symbol: Symbol
    instance: Symbol | None
    arguments: list[tuple[str, Expr]]
    takes_sub: bool = False


@dataclass(slots=True)
class Stmt:
    token: Token


@dataclass(slots=True)
class Block(Stmt):
    reference: int
    body: list[Stmt]


@dataclass(slots=True)
class If(Stmt):
    branches: list[tuple[Expr, Block]]
    otherwise: Block | None
    reference: int  # of the point behind it
    places: list[Token]  # where each branch begins: ``if`` or ``else`` or ``elseif``


@dataclass(slots=True)
class Set(Stmt):
    target: Symbol
    operator: str
    value: Expr


@dataclass(slots=True)
class Unset(Stmt):
    target: Symbol


@dataclass(slots=True)
class CallSub(Stmt):
    symbol: Symbol


@dataclass(slots=True)
class CallDynamic(Stmt):
    value: Expr
    reference: int


@dataclass(slots=True)
class CallFunction(Stmt):
    call: Expr


@dataclass(slots=True)
class New(Stmt):
    symbol: Symbol
    call: Call


@dataclass(slots=True)
class Return(Stmt):
    action: str | None
    arguments: list[Expr] = field(default_factory=list)
    label: str = ""


@dataclass(slots=True)
class Action(Stmt):
    """``ban``, ``hash_data``, ``synthetic``."""

    name: str
    argument: Expr


@dataclass(slots=True, eq=False)
class Use:
    """One use of a restricted symbol, for the check of which subs may do what."""

    first: Token
    last: Token
    symbol: Symbol
    how: str  # read, set, unset, action
    mask: int


@dataclass(slots=True, eq=False)
class Sub:
    """A subroutine: all its definitions, what it calls, uses and returns."""

    symbol: Symbol
    name: Token | None = None
    method: str | None = None
    blocks: list[Block] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    calls: list[tuple[Token, Symbol]] = field(default_factory=list)
    returns: dict[str, Token] = field(default_factory=dict)
    allowed: int = -1  # mask of methods it may run under
    called: int = 0
    active: bool = False
