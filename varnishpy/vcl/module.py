"""What a generated module hands to the cache process besides its functions: the tables that ``codegen.py`` writes.

Nothing is found out by looking at generated text: which labels a program returns to, what its trace points and
subroutines are, which methods only return an action, and the functions with trace points in them are tables like the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from varnishpy.vcl.specs import BackendSpec, ProbeSpec

if TYPE_CHECKING:
    from varnishpy.vcl.context import Ctx

Method = Callable[["Ctx"], str | None]


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
        names: dict[str, Any] = {"__name__": module_name}
        exec(compile(text, f"<{title}>", "exec"), names)
        self.title = title
        self.names = names
        self.syntax: int = names["SYNTAX"]
        self.references: list[tuple[int, int, int]] = names["REFERENCES"]
        self.default_probe: ProbeSpec | None = names["DEFAULT_PROBE"]
        self.methods: dict[str, Method] = names["METHODS"]
        self.fixed: dict[str, str] = names["FIXED"]
        self.labels: list[str] = names["LABELS"]
        self.vmods: list[tuple[str, str, bool]] = names["VMODS"]
        self.objects: list[tuple[str, str]] = names["OBJECTS"]
        self.backends: list[tuple[str, BackendSpec, str | None]] = names["BACKENDS"]
        self.default_backend: str | None = names["DEFAULT_BACKEND"]
        self.writes_trace: bool = names["WRITES_TRACE"]
        self._traced: list[str] = names.pop("TRACED")

    def traced_methods(self) -> dict[str, Method]:
        """The functions once more, with trace points, over the same backends, objects and constants."""
        names: dict[str, Any] = dict(self.names)
        exec(compile("\n".join(self._traced), f"<{self.title}, traced>", "exec"), names)
        methods: dict[str, Method] = names["METHODS"]
        return methods

    def clear(self) -> None:
        """Forget everything: functions refer to the globals, which refer to the functions."""
        self.methods = {}
        self.names.clear()
