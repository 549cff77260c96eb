"""The CLI commands that the cache process carries out."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy import log
from varnishpy.backends import admin
from varnishpy.backends.director import Director
from varnishpy.base import clock, panic, testable_random
from varnishpy.base.wiretext import from_wire, to_wire
from varnishpy.cli.dispatch import CliCall, Dispatcher, json_answer
from varnishpy.cli.protocol import CANT, OK, PARAM, CliError
from varnishpy.cli.vcl_list import list_text
from varnishpy.cli.vcl_mode import VclMode
from varnishpy.params import ParamError
from varnishpy.params import table as params_table
from varnishpy.request import vfp
from varnishpy.session.acceptor import Mode
from varnishpy.session.certificates import CertError
from varnishpy.session.tls_settings import parse_load
from varnishpy.threads.planned import planned
from varnishpy.tier.showing import status_text
from varnishpy.vcl.loader import VclLoadError

if TYPE_CHECKING:
    from varnishpy.child.assembly import Child


_LONGEST_TRAVEL: Final = 1e10  # seconds
_FETCHES_END: Final = 1.0  # seconds that a journey through time waits for fetches
_LONGEST_DELAY: Final = 3600.0  # seconds that debug.shutdown.delay takes


class ChildCommands:
    """Handlers, bound to one child. Called on its main thread."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._shutdown_delay = 0.0

    def bind(self, dispatcher: Dispatcher) -> None:
        """Bind every handler."""
        dispatcher.bind(
            accept_start=self.accept_start, param_push=self.param_push,
            vcl_load=self.vcl_load, vcl_use=self.vcl_use, vcl_state=self.vcl_state, vcl_discard=self.vcl_discard,
            vcl_label=self.vcl_label, vcl_list=self.vcl_list,
            ban=self.ban, ban_list=self.ban_list, backend_list=self.backend_list,
            traffic_stop=self.traffic_stop, traffic_refuse=self.traffic_refuse, traffic_start=self.traffic_start,
            traffic_status=self.traffic_status,
            tls_cert_list=self.cert_list, tls_cert_load=self.cert_load, tls_cert_discard=self.cert_discard,
            tls_cert_commit=self.cert_commit, tls_cert_rollback=self.cert_rollback, tls_cert_reload=self.cert_reload,
            tls_file=self.tls_file,
            tier_status=self.tier_status,
            debug_empty=self.debug_empty, debug_travel=self.debug_travel,
            debug_xid=self.debug_xid, debug_srandom=self.debug_srandom, debug_vmod=self.debug_vmod,
        )  # fmt: skip
        dispatcher.bind_name("backend.set_health", self.backend_set_health)
        dispatcher.bind_name("debug.fragfetch", self.debug_fragfetch)
        dispatcher.bind_name("debug.listen_address", self.debug_listen_address)
        dispatcher.bind_name("debug.panic.worker", self.debug_panic)
        dispatcher.bind_name("debug.reqpool.fail", self.debug_reqpool_fail)
        dispatcher.bind_name("debug.shutdown.delay", self.debug_shutdown_delay)

    # -- from the manager ------------------------------------------------------------------------------------------

    def accept_start(self, call: CliCall) -> str:
        self._child.start_accepting()
        return ""

    def param_push(self, call: CliCall) -> str:
        try:
            params_table.load([(call.args[0], call.args[1])])
        except ParamError as error:
            raise CliError(PARAM, str(error)) from None
        return ""

    # -- VCL -------------------------------------------------------------------------------------------------------

    def vcl_load(self, call: CliCall) -> str:
        name, path, word = call.args
        mode = VclMode.parse(word)
        with open(path, encoding="utf-8") as file:
            source = file.read()
        try:
            self._child.vcls.load(name, source, mode.warm, mode.state)
        except VclLoadError as error:
            raise CliError(CANT, str(error)) from None
        return f'Loaded "{path}" as "{name}"'

    def vcl_use(self, call: CliCall) -> str:
        return self._vcl(partial(self._child.vcls.use, call.args[0]))

    def vcl_state(self, call: CliCall) -> str:
        name, word = call.args
        mode = VclMode.parse(word)
        return self._vcl(partial(self._child.vcls.set_state, name, mode.warm, mode.state))

    def vcl_label(self, call: CliCall) -> str:
        name, target = call.args
        return self._vcl(partial(self._child.vcls.label, name, target))

    def vcl_discard(self, call: CliCall) -> str:
        for name in call.args:
            self._vcl(partial(self._child.vcls.discard, name))
        return ""

    @staticmethod
    def _vcl(action: Callable[[], None]) -> str:
        try:
            action()
        except VclLoadError as error:
            raise CliError(CANT, str(error)) from None
        return ""

    def vcl_list(self, call: CliCall) -> str:
        self._child.vcls.poke()
        if call.json:
            return _json(call, [row.as_json() for row in self._child.vcls.rows()])
        return list_text(self._child.vcls.rows())

    # -- bans, backends --------------------------------------------------------------------------------------------

    def ban(self, call: CliCall) -> str:
        error = self._child.bans.ban_words([to_wire(word) for word in call.args])
        if error is not None:
            raise CliError(PARAM, from_wire(error))
        return ""

    def ban_list(self, call: CliCall) -> str:
        if call.json:
            return _json(call, [{**row, "spec": from_wire(str(row["spec"]))} for row in self._child.bans.list_json()])
        return from_wire(self._child.bans.list_text())

    def backend_list(self, call: CliCall) -> str:
        detailed, as_json = False, call.json
        words = list(call.args)
        while words and words[0].startswith("-"):
            for flag in words.pop(0)[1:]:
                if flag == "p":
                    detailed = not detailed
                elif flag == "j":
                    as_json = True
                else:
                    raise CliError(PARAM, f"Invalid flag {flag}")
        if len(words) > 1:
            raise CliError(PARAM, "Too many arguments")
        pattern = words[0] if words else None
        if as_json:
            rows = admin.list_json(self._directors(), pattern, self._active_vcl(), detailed)
            return json_answer(call, json.dumps(rows, indent=2), version=3)
        return admin.list_text(self._directors(), pattern, self._active_vcl(), detailed)

    def backend_set_health(self, call: CliCall) -> str:
        try:
            pattern, state = call.args
            admin.set_health(self._directors(), pattern, state, self._active_vcl())
        except admin.AdminError as error:
            raise CliError(PARAM, str(error)) from None
        return ""

    def _directors(self) -> list[Director]:
        return [director for vcl in self._child.vcls.all() for director in vcl.directors()]

    def _active_vcl(self) -> str:
        return next((row.name for row in self._child.vcls.rows() if row.status == "active"), "")

    # -- traffic ---------------------------------------------------------------------------------------------------

    def traffic_stop(self, call: CliCall) -> str:
        self._child.drain(refuse=False)
        return ""

    def traffic_refuse(self, call: CliCall) -> str:
        self._child.drain(refuse=True)
        return ""

    def traffic_start(self, call: CliCall) -> str:
        self._child.resume()
        return ""

    def traffic_status(self, call: CliCall) -> str:
        acceptors = self._child.acceptors
        state = {Mode.ACCEPT: "accepting", Mode.HOLD: "stopped", Mode.REFUSE: "refusing"}[acceptors.mode]
        sessions = len(acceptors.sessions)
        if call.json:
            return json_answer(call, json.dumps({"traffic": state, "sessions": sessions}))
        return f"Traffic is {state}, {sessions} sessions are open\n"

    # -- the shared tier -------------------------------------------------------------------------------------------

    def tier_status(self, call: CliCall) -> str:
        tier = self._child.tier
        if tier is None:
            raise CliError(CANT, "There is no shared tier (-s tier=...)")
        status = tier.status()
        return json_answer(call, json.dumps(status, indent=2)) if call.json else status_text(status)

    # -- certificates ----------------------------------------------------------------------------------------------

    def cert_list(self, call: CliCall) -> str:
        if call.args not in ([], ["-s"]):
            raise CliError(PARAM, f"Unknown option: {call.args[0]}")
        rows = self._child.certificates.list(only_staged=bool(call.args))
        if call.json:
            return _json(call, rows)
        return "".join("  ".join(f"{name}={value}" for name, value in row.items()) + "\n" for row in rows)

    def cert_load(self, call: CliCall) -> str:
        try:
            self._child.certificates.load(parse_load(call.args))
        except (CertError, ValueError) as error:
            raise CliError(CANT, str(error)) from None
        return ""

    def cert_discard(self, call: CliCall) -> str:
        return self._cert(partial(self._child.certificates.discard, call.args[0]))

    def cert_commit(self, call: CliCall) -> str:
        return self._cert(self._child.certificates.commit)

    def cert_rollback(self, call: CliCall) -> str:
        return self._cert(self._child.certificates.rollback)

    def cert_reload(self, call: CliCall) -> str:
        return self._cert(self._child.certificates.reload)

    def tls_file(self, call: CliCall) -> str:
        path, data = call.args[0], call.args[1:]
        self._child.certificates.files.take(path, base64.b64decode(data[0]) if data else None)
        return ""

    @staticmethod
    def _cert(action: Callable[[], object]) -> str:
        try:
            action()
        except CertError as error:
            raise CliError(CANT, str(error)) from None
        return ""

    # -- debug -----------------------------------------------------------------------------------------------------

    def debug_listen_address(self, call: CliCall) -> str:
        return self._child.acceptors.listen_addresses()

    def debug_panic(self, call: CliCall) -> str:
        panic.invariant(False, "You asked for it")
        return ""  # not reached

    def debug_xid(self, call: CliCall) -> tuple[int, str]:
        try:
            numbers = [int(word, 0) for word in call.args]
        except ValueError:
            raise CliError(PARAM, "A number is needed\n") from None
        base, chunk = log.debug_xid(*numbers)
        return OK, f"XID is {base} chunk {chunk}\n"

    def debug_fragfetch(self, call: CliCall) -> str:
        try:
            vfp.set_fragment(int(call.args[0], 0))
        except ValueError:
            raise CliError(PARAM, "A number is needed\n") from None
        return ""

    def debug_reqpool_fail(self, call: CliCall) -> str:
        planned.set(call.args[0])
        return ""

    def debug_srandom(self, call: CliCall) -> str:
        try:
            testable_random.seed(int(call.args[0], 0) if call.args else 1)
        except ValueError:
            raise CliError(PARAM, "A number is needed\n") from None
        return ""

    def debug_shutdown_delay(self, call: CliCall) -> str:
        try:
            delay = float(call.args[0])
        except ValueError:
            delay = -1.0
        if not 0.0 <= delay < _LONGEST_DELAY:
            raise CliError(PARAM, "A number of seconds is needed\n")
        self._shutdown_delay = delay
        return ""

    def delay_shutdown(self) -> None:
        """Wait as long as ``debug.shutdown.delay`` said."""
        if self._shutdown_delay:
            time.sleep(self._shutdown_delay)

    def debug_travel(self, call: CliCall) -> str:
        """Tests let objects and bans age without waiting.

        A fetch in the background that an earlier request has begun belongs to the time before: it may end first.
        """
        try:
            seconds = float(call.args[0])
        except ValueError:
            seconds = math.nan
        if not abs(seconds) < _LONGEST_TRAVEL:
            raise CliError(PARAM, "A number of seconds is needed\n")
        deadline = time.monotonic() + _FETCHES_END
        while time.monotonic() < deadline and any(oc.boc is not None for oc in self._child.hash.all_objects()):
            time.sleep(0.002)
        ahead = clock.travel(seconds if seconds else -clock.travel(0.0))
        self._child.expiry.wake()
        self._child.bans.wake()
        return f"{ahead:.3f} s ahead\n"

    def debug_empty(self, call: CliCall) -> str:
        return f"{self._child.hash.forget_all()} objects\n"

    def debug_vmod(self, call: CliCall) -> str:
        rows = self._child.vcls.vmods().items()
        return "".join(
            f'{len(vcls):5d} {vmod.name} (path="{vmod.path}", version="{vmod.version}", vcs="")\n'
            for vmod, vcls in rows
        )


def _json(call: CliCall, rows: Sequence[Mapping[str, object]]) -> str:
    return json_answer(call, *(json.dumps(row, indent=2) for row in rows))
