"""The parameter table: setting, showing and resetting, as varnish-cli(7) has it, over a typed live view.

The manager's table is the master. What it accepts it hands to the child as ``(name, text)`` pairs (`ParamTable.texts`),
which the child's table takes without judging them again (`ParamTable.load`): bounds that follow other parameters could
refuse, in one order, what is right as a whole.

Writers hold the table's lock; readers of the view hold nothing, each parameter changes atomically by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from varnishpy.base.near import did_you_mean
from varnishpy.params import values
from varnishpy.params.rows_process import ALIASES
from varnishpy.params.rows_process import ROWS as PROCESS_ROWS
from varnishpy.params.rows_tier import ROWS as TIER_ROWS
from varnishpy.params.rows_traffic import ROWS as TRAFFIC_ROWS
from varnishpy.params.show import Described, describe, long_form, short_form
from varnishpy.params.spec import FLAG_NOTES, Flag, Spec
from varnishpy.params.values import CLI_AUTH, CLI_CANNOT, ParamError, Switches, Value, json_of, text_of
from varnishpy.params.view import Params

Listener = Callable[[str], None]


class ParamTable:
    """All parameters, their bounds and their values.

    :param view: the object whose attributes follow the values
    """

    def __init__(self, view: Params | None = None) -> None:
        self.view = view if view is not None else Params()
        self.specs: dict[str, Spec] = {}
        self._values: dict[str, Value] = {}
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        for spec in sorted(PROCESS_ROWS + TIER_ROWS + TRAFFIC_ROWS, key=lambda spec: spec.name):
            self._define(replace(spec))
        for name in self.specs:
            self._follow(name)

    def _define(self, spec: Spec) -> None:
        """Take up a row: bounds and default get the form in which they are shown."""
        free = replace(spec, minimum=None, maximum=None)
        if spec.minimum is not None:
            spec.minimum = text_of(values.parse(spec.minimum, free, None), spec)
        if spec.maximum is not None:
            spec.maximum = text_of(values.parse(spec.maximum, free, None), spec)
        value = values.parse(spec.default, free, None)
        spec.default = text_of(value, spec)
        self.specs[spec.name] = spec
        self._store(spec, value)

    def _store(self, spec: Spec, value: Value) -> None:
        self._values[spec.name] = value
        if isinstance(value, frozenset):
            switches: Switches = getattr(self.view, spec.name)
            switches.assign(value)
        else:
            setattr(self.view, spec.name, value)

    def _follow(self, name: str) -> None:
        """Move the bounds that depend on a parameter."""
        value = self._values[name]
        if not isinstance(value, int):
            return
        if name == "thread_pool_min":
            self.specs["thread_pool_max"].minimum = str(value)
            self.specs["thread_pool_max"].minimum_reason = name
            self.specs["thread_pool_reserve"].maximum = str(value * 95 // 100)
            self.specs["thread_pool_reserve"].maximum_reason = "95% of thread_pool_min"
        elif name == "thread_pool_max":
            self.specs["thread_pool_min"].maximum = str(value)
            self.specs["thread_pool_min"].maximum_reason = name
        elif name == "vsl_buffer":
            self.specs["vsl_reclen"].maximum = str(min(value - 12, 65535))
        elif name == "vsl_reclen":
            self.specs["vsl_buffer"].minimum = str(value + 12)

    # -- changing --------------------------------------------------------------------------------------------------

    def spec(self, name: str) -> Spec:
        """The row of a parameter, aliases included. :raises ParamError: if there is none"""
        spec = self.specs.get(ALIASES.get(name, name))
        if spec is None:
            raise ParamError(f'Unknown parameter "{name}".{did_you_mean(name, self.specs)}')
        return spec

    def set(self, name: str, text: str | None, running: bool = False) -> str:
        """Set a parameter, or reset it if ``text`` is ``None``.

        :param running: the child runs, so a change that needs its restart is remarked on
        :returns: a remark for the operator, mostly empty
        :raises ParamError: nothing was changed; the text is what varnishd would print
        """
        spec = self.spec(name)
        if spec.flags & Flag.NOT_IMPLEMENTED:
            raise ParamError(f'parameter "{name}" is not available on this platform.', CLI_CANNOT)
        if text is None:
            text = spec.default
        if spec.flags & Flag.PROTECTED:
            raise ParamError(f'parameter "{name}" is protected.', CLI_AUTH)
        with self._lock:
            try:
                setting = text
                if name != spec.name and name.startswith("vcc_"):
                    setting = ("+" if values.parse_bool(text) else "-") + name[len("vcc_") :]
                value = values.parse(setting, spec, self._values[spec.name])
            except ParamError as exc:
                raise ParamError(f"{exc}\n(attempting to set param '{name}' to '{text}')", exc.status) from None
            self._store(spec, value)
            self._follow(spec.name)
        self._notify(spec.name)
        if spec.flags & Flag.NO_EFFECT:
            return f"\n{FLAG_NOTES[Flag.NO_EFFECT]}"
        if running and spec.flags & Flag.MUST_RESTART:
            return "\nChange will take effect when child is restarted"
        if spec.flags & Flag.MUST_RELOAD:
            return "\nChange will take effect when VCL script is reloaded"
        return ""

    def reset(self, name: str, running: bool = False) -> str:
        """Go back to the default. See `set`."""
        return self.set(name, None, running)

    def set_default(self, name: str, text: str) -> None:
        """Change a default, and the value if it stood at the old one: for what depends on the installation."""
        spec = self.spec(name)
        with self._lock:
            unchanged = self.text(spec.name) == spec.default
            value = values.parse(text, spec, frozenset())
            spec.default = text_of(value, spec)
            if unchanged:
                self._store(spec, value)
                self._follow(spec.name)
        self._notify(spec.name)

    def protect(self, names: str) -> None:
        """Make parameters read-only: ``-r name,name``. :raises ParamError:"""
        for name in filter(None, names.split(",")):
            spec = self.specs.get(name)
            if spec is None and name in ALIASES:
                orig = ALIASES[name]
                raise ParamError(f"Cannot mark alias {name} read only.\nDid you mean to mark {orig} read only?")
            if spec is None:
                raise ParamError(f"Unknown parameter {name}{did_you_mean(name, self.specs)}")
            spec.flags |= Flag.PROTECTED

    def texts(self, changed: bool = False) -> list[tuple[str, str]]:
        """All values, or those that differ from their default, as ``(name, text)``: what the child is given."""
        with self._lock:
            found = [(name, self.text(name)) for name in self.specs]
            return [(name, text) for name, text in found if not changed or text != self.specs[name].default]

    def load(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take over values that another table has accepted; bounds are not judged.

        :raises ParamError: an unknown name or a text that is no value
        """
        taken = []
        with self._lock:
            for name, text in pairs:
                spec = self.spec(name)
                free = replace(spec, minimum=None, maximum=None)
                self._store(spec, values.parse(text, free, frozenset()))
                self._follow(spec.name)
                taken.append(spec.name)
        for name in taken:
            self._notify(name)

    def add_listener(self, listener: Listener) -> None:
        """Have a function called with the name of each parameter that was set, on the thread that set it."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a function; unknown ones are ignored."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _notify(self, name: str) -> None:
        for listener in self._listeners.copy():
            listener(name)

    # -- showing ---------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        """The value as text."""
        return text_of(self._values[self.spec(name).name], self.spec(name))

    def show(self, name: str | None = None, changed: bool = False, long: bool = False) -> str:
        """``param.show``: all in short form, or one by name in the long one.

        :param changed: only what differs from its default
        :param long: the long form for all
        :raises ParamError: for an unknown name
        """
        specs = list(self.specs.values()) if name is None else [self.spec(name)]
        form = long_form if long or name is not None else short_form
        shown = [(spec, self.text(spec.name)) for spec in specs]
        return "".join(form(spec, text) for spec, text in shown if not changed or text != spec.default)

    def as_json(self, name: str | None = None, changed: bool = False) -> list[Described]:
        """``param.show -j`` as plain data, one object per parameter. :raises ParamError: for an unknown name"""
        specs = list(self.specs.values()) if name is None else [self.spec(name)]
        result = []
        for spec in specs:
            text = self.text(spec.name)
            if changed and text == spec.default:
                continue
            result.append(describe(spec, json_of(self._values[spec.name], spec)))
        return result
