"""The programs loaded into the cache process, by name: which is active, which are labels, who may go.

The manager decides and says what it wants over the CLI; this is its counterpart in the child. A task takes the active
program with `VclRegistry.active`, which counts it, and lets go with ``vcl.rel()``.
"""

from __future__ import annotations

import threading

from varnishpy import stats
from varnishpy.cli.vcl_list import VclRow
from varnishpy.vcl.loader import Vcl, VclHost, VclLoadError, VmodInUse, load


def _failed(what: str, error: VclLoadError) -> str:
    return f"{what}\nMessage:\n\t{error}" if str(error) else what


class Label:
    """A name that stands for another program."""

    __slots__ = ("name", "references", "target")

    def __init__(self, name: str, target: Vcl) -> None:
        self.name = name
        self.target = target
        self.references = 0  # programs with return(vcl(name))


class VclRegistry:
    """See the module text. Commands come from one thread, the CLI's; `active` from any."""

    def __init__(self, host: VclHost) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._vcls: dict[str, Vcl | Label] = {}  # in order of loading
        self._discarded: list[Vcl] = []  # still busy
        self._active: Vcl | Label | None = None
        stats.add_collector(self._count)

    def _count(self) -> None:
        """The gauges of programs, for whoever reads counters."""
        with self._lock:
            available = sum(isinstance(entry, Vcl) for entry in self._vcls.values())
            discarded = len(self._discarded)
        stats.main.set("n_vcl", available + discarded)
        stats.main.set("n_vcl_avail", available)
        stats.main.set("n_vcl_discard", discarded)
        stats.main.set("vmods", len(self.vmods()))

    # -- for tasks ------------------------------------------------------------------------------------------------

    def active(self) -> Vcl:
        """The program in use, with a reference; raises `VclLoadError` if there is none."""
        while True:
            entry = self._active
            if entry is None:
                raise VclLoadError("No VCL available\n")
            vcl = entry.target if isinstance(entry, Label) else entry
            if vcl.take():
                return vcl
            # discarded since we looked, and so not active any more: look again

    def referenced(self, name: str) -> Vcl:
        """The program of a name or label, with a reference; raises `KeyError`."""
        with self._lock:
            entry = self._vcls[name]
            vcl = entry.target if isinstance(entry, Label) else entry
            vcl.ref()
            return vcl

    def get(self, name: str) -> Vcl | None:
        """The program of a name or label."""
        entry = self._vcls.get(name)
        return entry.target if isinstance(entry, Label) else entry

    def all(self) -> list[Vcl]:
        """Every program, discarded ones that are still busy last."""
        with self._lock:
            return [entry for entry in self._vcls.values() if isinstance(entry, Vcl)] + list(self._discarded)

    def vmods(self) -> dict[VmodInUse, list[str]]:
        """The modules in use and the programs that import each."""
        users: dict[VmodInUse, list[str]] = {}
        for vcl in self.all():
            for vmod in vcl.vmods:
                users.setdefault(vmod, []).append(vcl.name)
        return users

    def _label_target(self, name: str) -> Vcl:
        entry = self._vcls[name]
        return entry.target if isinstance(entry, Label) else entry

    # -- commands -------------------------------------------------------------------------------------------------

    def load(self, name: str, python_source: str, warm: bool = True, state: str = "auto") -> Vcl:
        """``vcl.load``; raises `VclLoadError`."""
        if name in self._vcls:
            raise VclLoadError(f"Config '{name}' already loaded\n")
        vcl = load(name, python_source, self._host, self._label_target)
        vcl.state = state
        if warm:
            try:
                vcl.warm()
            except VclLoadError as error:
                vcl.discard()
                raise VclLoadError(_failed(f'VCL "{name}" Failed warmup', error)) from error
        with self._lock:
            self._vcls[name] = vcl
            for label in self._labels_in(vcl):
                label.references += 1
        return vcl

    def _labels_in(self, vcl: Vcl) -> list[Label]:
        found = [self._vcls.get(name) for name in vcl.module.labels]
        return [label for label in found if isinstance(label, Label)]

    def use(self, name: str) -> None:
        """``vcl.use``; raises `VclLoadError` when the program cannot be warmed."""
        entry = self._vcls[name]
        vcl = entry.target if isinstance(entry, Label) else entry
        vcl.warm()
        with self._lock:
            self._active = entry

    def label(self, name: str, target: str) -> None:
        """``vcl.label``: make or move a label."""
        vcl = self._vcls[target]
        if isinstance(vcl, Label):
            raise VclLoadError("VCL labels cannot point to labels")
        vcl.warm()
        with self._lock:
            entry = self._vcls.get(name)
            if entry is None:
                self._vcls[name] = Label(name, vcl)
            elif isinstance(entry, Label):
                entry.target.label_count -= 1
                entry.target = vcl
            else:
                raise VclLoadError(f"{name} is not a label")
            vcl.label_count += 1

    def set_state(self, name: str, warm: bool, state: str) -> None:
        """``vcl.state``; a program that is to rest while tasks use it rests when they are done (see `poke`)."""
        vcl = self._vcls[name]
        if isinstance(vcl, Label):
            raise VclLoadError("Labels are always warm")
        if not warm:
            vcl.rest()
        else:
            try:
                vcl.warm()
            except VclLoadError as error:
                raise VclLoadError(_failed(f"Failed <vcl.state {name} {state}>", error)) from error
        vcl.state = state

    def discard(self, name: str) -> None:
        """``vcl.discard``: the name is free at once, the program goes when nobody uses it (see `poke`)."""
        with self._lock:
            entry = self._vcls.pop(name)
            if self._active is entry:
                self._active = None
            if isinstance(entry, Label):
                entry.target.label_count -= 1
                return
            for label in self._labels_in(entry):
                label.references -= 1
            entry.state = "cold"
            entry.is_resting = True
            self._discarded.append(entry)
        self.poke()

    def poke(self) -> None:
        """End what is discarded and cold, rest what was sent cold; called now and then by the CLI's thread."""
        for vcl in list(self._discarded):
            if vcl.retire():
                with self._lock:
                    self._discarded.remove(vcl)
                vcl.discard()
        for entry in list(self._vcls.values()):
            if isinstance(entry, Vcl) and entry.is_resting and entry.is_warm:
                entry.rest()

    def discard_all(self) -> None:
        """The process ends."""
        self._active = None
        for vcl in self.all():
            vcl.discard()
        self._vcls.clear()
        self._discarded.clear()

    # -- showing --------------------------------------------------------------------------------------------------

    def rows(self) -> list[VclRow]:
        """What ``vcl.list`` shows."""
        with self._lock:
            return [self._row(entry) for entry in (*self._vcls.values(), *self._discarded)]

    def _row(self, entry: Vcl | Label) -> VclRow:
        if entry is self._active:
            status = "active"
        else:
            status = "discarded" if entry in self._discarded else "available"
        if isinstance(entry, Label):
            target = entry.target
            return VclRow(
                status=status,
                state="label",
                temperature=target.temperature,
                busy=0,
                name=entry.name,
                target=target.name,
                users=entry.references,
            )
        return VclRow(
            status=status,
            state=entry.state,
            temperature=entry.temperature,
            busy=entry.busy,
            name=entry.name,
            users=entry.label_count,
        )
