"""What the directors of this VMOD share: a list of backends with weights, and its health."""

from __future__ import annotations

from varnishpy.backends.director import Director
from varnishpy.base.locks import make_lock
from varnishpy.vmods.api import Ctx, VclFailure


class BackendList(Director):
    """A director over a list of backends. Changes are made under its lock and replace the list as a whole."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        super().__init__(vcl_name, ctx.vcl.name)
        self.lock = make_lock("director")
        self.members: tuple[tuple[Director, float], ...] = ()
        ctx.vcl.add_director(self)

    def add(self, backend: Director | None, weight: float = 1.0) -> None:
        if backend is None:
            raise VclFailure(f"{self.vcl_name}: None backend cannot be added")
        with self.lock:
            self.members = (*self.members, (backend, weight))

    def remove(self, backend: Director | None) -> int:
        """Take a backend out; its place in the list, or -1 if it was not there."""
        if backend is None:
            raise VclFailure(f"{self.vcl_name}: None backend cannot be removed")
        with self.lock:
            for place, (member, _weight) in enumerate(self.members):
                if member is backend:
                    self.members = self.members[:place] + self.members[place + 1 :]
                    return place
        return -1

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        """Healthy while any member is; changed when the last of those looked at did."""
        changed = 0.0
        for member, _weight in self.members:
            healthy, when = member.healthy(ctx)
            changed = max(changed, when)
            if healthy:
                return True, changed
        return False, changed

    def release(self) -> None:
        super().release()
        with self.lock:
            self.members = ()

    def pick_weighted(self, ctx: Ctx | None, point: float) -> Director | None:
        """The healthy backend that a point (0 to 1) falls to, each taking room by its weight."""
        members = [member for member in self.members if member[0].healthy(ctx)[0]]
        total = sum(weight for _member, weight in members)
        left = point * total
        for backend, weight in members:
            left -= weight
            if left < 0 and weight > 0:
                return backend
        return members[-1][0] if members and total > 0 else None

    # -- showing --------------------------------------------------------------------------------------------------

    weighted = False

    def probe_summary(self, ctx: Ctx | None) -> tuple[int, int, str]:
        good = sum(1 for member, _weight in self.members if member.healthy(ctx)[0])
        return good, len(self.members), "healthy" if good else "sick"

    def _rows(self) -> list[tuple[str, float, bool]]:
        """Name, share of the weight (0 when sick) and health of each member."""
        states = [(member.vcl_name, weight, bool(member.healthy(None)[0])) for member, weight in self.members]
        return [(name, weight if healthy else 0.0, healthy) for name, weight, healthy in states]

    def details_text(self) -> str:
        rows = self._rows()
        total = sum(weight for _name, weight, _healthy in rows)
        lines = ["\n\n\tBackend\tWeight\tHealth\n"]
        for name, weight, healthy in rows:
            share = f"{100 * weight / total if total else 0:6.2f}%" if self.weighted else "-"
            lines.append(f"\t{name}\t{share}\t{'healthy' if healthy else 'sick'}\n")
        return "".join(lines)

    def details(self) -> dict[str, object]:
        rows = self._rows()
        out: dict[str, object] = {}
        if self.weighted:
            out["total_weight"] = sum(weight for _name, weight, _healthy in rows)
        out["backends"] = {
            name: ({"weight": weight} if self.weighted else {}) | {"health": "healthy" if healthy else "sick"}
            for name, weight, healthy in rows
        }
        return out


class DirectorObject:
    """Base of the VCL objects: each owns one director."""

    director: BackendList

    def vmod_fini(self, ctx: Ctx) -> None:
        """The VCL goes; called by the loader."""
        ctx.vcl.remove_director(self.director)
        self.director.release()
