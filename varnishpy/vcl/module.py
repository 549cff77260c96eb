"""What a generated module hands to the cache process besides its functions: the tables that ``codegen.py`` writes.

Nothing is found out by looking at generated text: which labels a program returns to, what its trace points and
subroutines are, which methods only return an action, and the functions with trace points in them are tables like the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from varnishpy.vcl.builtin_subs import SUBS
from varnishpy.vcl.context import Method
from varnishpy.vcl.specs import BackendSpec, ProbeSpec

T = TypeVar("T")


def entry(names: Mapping[str, object], name: str, kind: type[T]) -> T:
    """What stands under that name in a generated module, which is of that kind or a defect of the compiler."""
    found = names[name]
    assert isinstance(found, kind), f"{name} of a generated module is {found!r}"
    return found


def optional(names: Mapping[str, object], name: str, kind: type[T]) -> T | None:
    """As `entry`, where there may be None."""
    return None if names[name] is None else entry(names, name, kind)


class Module:
    """A generated module that has been executed.

    :ivar names: its globals, in which the generated functions look up backends, objects and constants
    :ivar references: source, line and column of each trace point; the first is number 1
    :ivar methods: the function of each built-in subroutine
    :ivar fixed: the actions of those that do nothing but return one
    :ivar labels: the labels that ``return (vcl(label))`` names
    :ivar vmods: alias, name, and whether it wants to hear of events
    :ivar objects: name in VCL, name in `names`
    :ivar backends: name in `names`, what it is, and the name of the one to go through
    :ivar writes_trace: the program sets ``req.trace`` or ``bereq.trace``
    """

    __slots__ = (
        "_traced", "backends", "default_backend", "default_probe", "fixed", "labels", "methods", "names", "objects",
        "references", "syntax", "title", "vmods", "writes_trace",
    )  # fmt: skip

    def __init__(self, title: str, module_name: str, text: str) -> None:
        """Execute a module.

        :param title: what tracebacks call it
        """
        names: dict[str, object] = {"__name__": module_name}
        exec(compile(text, f"<{title}>", "exec"), names)
        self.title = title
        self.names = names
        self.syntax: int = entry(names, "SYNTAX", int)
        self.references: list[tuple[int, int, int]] = entry(names, "REFERENCES", list)
        self.default_probe: ProbeSpec | None = optional(names, "DEFAULT_PROBE", ProbeSpec)
        self.methods: dict[str, Method] = entry(names, "METHODS", dict)
        self._share_builtin(entry(names, "BUILTIN", list))
        self.fixed: dict[str, str] = entry(names, "FIXED", dict)
        self.labels: list[str] = entry(names, "LABELS", list)
        self.vmods: list[tuple[str, str, bool]] = entry(names, "VMODS", list)
        self.objects: list[tuple[str, str]] = entry(names, "OBJECTS", list)
        self.backends: list[tuple[str, BackendSpec, str | None]] = entry(names, "BACKENDS", list)
        self.default_backend: str | None = optional(names, "DEFAULT_BACKEND", str)
        self.writes_trace: bool = entry(names, "WRITES_TRACE", bool)
        self._traced: list[str] = entry(names, "TRACED", list)
        del names["TRACED"]

    def _share_builtin(self, subs: list[str]) -> None:
        """Functions made of the built-in VCL alone are those of a module that is compiled with the others."""
        for name in subs:
            shared = SUBS.get(name)
            if shared is not None:
                self.names[name] = shared
                method = name.removeprefix("sub_vcl_")
                if method in self.methods:
                    self.methods[method] = shared

    def traced_methods(self) -> dict[str, Method]:
        """The functions once more, with trace points, over the same backends, objects and constants."""
        names: dict[str, object] = dict(self.names)
        exec(compile("\n".join(self._traced), f"<{self.title}, traced>", "exec"), names)
        methods: dict[str, Method] = entry(names, "METHODS", dict)
        return methods

    def clear(self) -> None:
        """Forget everything: functions refer to the globals, which refer to the functions."""
        self.methods = {}
        self.names.clear()
