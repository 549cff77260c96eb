"""For those who test VCL: units, coverage, explanations, and the fixtures of the pytest plugin.

Nothing of the daemon imports this room. ``unit`` loads a program in this process, without sockets and threads, and runs
its subroutines one at a time::

    from varnishpy.kit import unit

    shop = unit("default.vcl")
    r = shop.recv(url="/cart", headers={"Cookie": "session=1"})
    assert r.action == "pass"
"""

from varnishpy.kit.unit import Mock, Result, Unit, unit

__all__ = ["Mock", "Result", "Unit", "unit"]
