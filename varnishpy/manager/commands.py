"""The CLI commands that the manager carries out itself; all others go to the child."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from varnishpy.base import panic
from varnishpy.cli.dispatch import CliCall, Handler, json_answer, json_inline
from varnishpy.cli.protocol import CANT, OK, PARAM, TOO_MANY, UNKNOWN, CliError
from varnishpy.params import ParamError
from varnishpy.storage import config as storage_config

if TYPE_CHECKING:
    from varnishpy.manager.manager import Manager


class ManagerCommands:
    """Handlers, bound to one manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def bind(self) -> None:
        """Bind every handler to the manager's dispatcher."""
        dispatcher = self._manager.dispatcher
        vcls = self._manager.vcls
        dispatcher.bind(
            banner=self.banner, pid=self.pid, start=self.start, stop=self.stop, status=self.status,
            panic_show=self.panic_show, panic_clear=self.panic_clear,
            param_show=self.param_show, param_set=self.param_set, param_reset=self.param_reset,
            vcl_load=self._reload(vcls.cli_load), vcl_inline=self._reload(vcls.cli_inline),
            vcl_use=self._reload(vcls.cli_use), vcl_state=vcls.cli_state,
            vcl_discard=vcls.cli_discard, vcl_label=vcls.cli_label, vcl_list=vcls.cli_list, vcl_show=vcls.cli_show,
            vcl_deps=vcls.cli_deps, vcl_symtab=vcls.cli_symtab,
            storage_list=self.storage_list, debug_panic_master=self.panic_master,
        )  # fmt: skip
        dispatcher.wildcard = self.ask_child
        dispatcher.reaches_all = lambda: self._manager.child.running

    def _reload(self, handler: Handler) -> Handler:
        """The same, and the service manager is told when it begins and ends."""

        def told(call: CliCall) -> str | tuple[int, str]:
            with self._manager.service.reload():
                return handler(call)

        return told

    def banner(self, call: CliCall) -> str:
        return self._manager.banner()

    def pid(self, call: CliCall) -> str:
        child = self._manager.child
        if call.json:
            pids = {"master": os.getpid()}
            if child.running:
                pids["worker"] = child.pid
            return json_answer(call, json.dumps(pids))
        text = f"Master: {os.getpid():10d}\n"
        return text + (f"Worker: {child.pid:10d}\n" if child.running else "")

    def start(self, call: CliCall) -> str:
        if self._manager.vcls.active is None:
            raise CliError(CANT, "No VCL available\n")
        self._manager.child.start()
        return ""

    def stop(self, call: CliCall) -> str:
        child = self._manager.child
        if child.state == "died":
            child.stop()
            return ""
        if not child.running:
            raise CliError(CANT, f"Child in state {child.state}")
        child.stop()
        return ""

    def status(self, call: CliCall) -> str:
        state = self._manager.child.state
        if call.json:
            return json_inline(call, json.dumps(state))
        return f"Child in state {state}"

    def panic_show(self, call: CliCall) -> str:
        text = self._manager.last_panic
        if not text:
            raise CliError(CANT, "Child has not panicked or panic has been cleared")
        return json_answer(call, json.dumps(text)) if call.json else f"{text}\n"

    def panic_clear(self, call: CliCall) -> str:
        if call.args and call.args[0] != "-z":
            raise CliError(PARAM, f'Unknown parameter "{call.args[0]}".')
        if call.args:
            self._manager.zero_panic_counter()
        if not self._manager.last_panic:
            if call.args:
                return ""
            raise CliError(CANT, "No panic to clear")
        self._manager.last_panic = ""
        return ""

    # -- parameters ------------------------------------------------------------------------------------------------

    def param_show(self, call: CliCall) -> str:
        table = self._manager.params_table
        if call.json and "-l" in call.args:
            raise CliError(PARAM, "-l not permitted with param.show -j")
        names = [word for word in call.args if word not in ("-l", "changed")]
        if len(names) > 1:
            raise CliError(TOO_MANY, "Too many parameters")
        name = names[0] if names else None
        changed = "changed" in call.args
        try:
            if call.json:
                return self._json(call, name, changed)
            return table.show(name, changed, long="-l" in call.args)
        except ParamError as error:
            raise CliError(error.status, str(error)) from None

    def _json(self, call: CliCall, name: str | None, changed: bool = False) -> str:
        rows = self._manager.params_table.as_json(name, changed)
        return json_answer(call, *(json.dumps(row, indent=2) for row in rows))

    def param_set(self, call: CliCall) -> str:
        name, value = call.args
        return self._change(call, name, value)

    def param_reset(self, call: CliCall) -> str:
        return self._change(call, call.args[0], None)

    def _change(self, call: CliCall, name: str, value: str | None) -> str:
        try:
            notes = self._manager.set_parameter(name, value)
            if call.json:
                return self._json(call, name)
        except ParamError as error:
            raise CliError(error.status, str(error)) from None
        return notes

    # -- the rest --------------------------------------------------------------------------------------------------

    def ask_child(self, call: CliCall) -> tuple[int, str]:
        if not self._manager.child.running:
            raise CliError(
                UNKNOWN,
                "Unknown request in manager process (child not running).\nType 'help' for more info.",
            )
        words = call.args
        if call.command == "tls.cert.load":
            words = self._manager.certificates.with_name(words)
            self._manager.hand_over_certificates(words)
        elif call.command == "tls.cert.reload":
            self._manager.hand_over_certificates([])
        status, text = self._manager.child.ask([call.command, *(["-j"] if call.json else []), *words])
        if status == OK and call.command.startswith("tls.cert."):
            self._manager.certificates.heard(call.command, words)
        return status, text

    def storage_list(self, call: CliCall) -> str:
        specs = self._manager.storage_specs
        if call.json:
            return json_answer(call, *(json.dumps(row) for row in storage_config.list_json(specs)))
        return storage_config.list_text(specs)

    def panic_master(self, call: CliCall) -> str:
        panic.invariant(False, "You asked for it")
        return ""  # not reached
