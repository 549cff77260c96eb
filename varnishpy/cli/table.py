"""The table of CLI commands: one row per command, from which dispatch, ``help`` and the documentation are made.

A row says what a command is called, how it is used, what it is for, and how many words may follow it. Which process
carries it out, and how, is bound elsewhere (``manager/commands.py``, ``child/commands.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto


class CommandFlag(Flag):
    """Who may see and use a command."""

    NONE = 0
    AUTH = auto()  # only after authentication
    DEBUG = auto()  # listed by help -d
    INTERNAL = auto()  # only between manager and child
    HIDDEN = auto()  # works, but help does not list it


A, D, IN, H = CommandFlag.AUTH, CommandFlag.DEBUG, CommandFlag.INTERNAL, CommandFlag.HIDDEN


@dataclass(frozen=True, slots=True)
class Command:
    """One CLI command. ``maximum`` is -1 where there is no limit; both count words after the name, ``-j`` excluded."""

    name: str
    syntax: str
    summary: str
    minimum: int
    maximum: int
    flags: CommandFlag = A
    json: bool = False


_ROWS = [
    Command("auth", "auth <response>", "Answer the authentication challenge.", 1, 1, CommandFlag.NONE),
    Command("backend.list", "backend.list [-j] [-p] [<backend_pattern>]",
            "List backends and directors with their health; -p adds the details of probes.", 0, 2, A, True),
    Command("backend.set_health", "backend.set_health <backend_pattern> [auto|healthy|sick]",
            "Set the administrative health of the backends that match.", 2, 2),
    Command("ban", "ban <field> <operator> <arg> [&& <field> <oper> <arg> ...]",
            "Make every cached object obsolete for which all conditions hold.", 3, -1),
    Command("ban.list", "ban.list [-j]", "List the bans in effect.", 0, 0, A, True),
    Command("banner", "banner", "Print the welcome text.", 0, 0),
    Command("help", "help [-j|<command>]", "List the commands, or explain one.", 0, 1, CommandFlag.NONE, True),
    Command("panic.clear", "panic.clear [-z]", "Forget the last panic; -z also zeroes its counter.", 0, 1),
    Command("panic.show", "panic.show [-j]", "Show the last panic of the child.", 0, 0, A, True),
    Command("param.reset", "param.reset [-j] <param>", "Set a parameter back to its default.", 1, 1, A, True),
    Command("param.set", "param.set [-j] <param> <value>", "Set a parameter.", 2, 2, A, True),
    Command("param.show", "param.show [-l|-j] [<param>|changed]",
            "Show parameters and their values; -l adds bounds and descriptions.", 0, 2, A, True),
    Command("pid", "pid [-j]", "Show the process ids of manager and child.", 0, 0, A, True),
    Command("ping", "ping [-j] [<timestamp>]", "Check that the CLI answers.", 0, 1, CommandFlag.NONE, True),
    Command("quit", "quit", "Close this CLI connection.", 0, 0, CommandFlag.NONE),
    Command("start", "start", "Start the child.", 0, 0),
    Command("status", "status [-j]", "Tell the state of the child.", 0, 0, A, True),
    Command("stop", "stop", "Stop the child.", 0, 0),
    Command("storage.list", "storage.list [-j]", "List the storage backends.", 0, 0, A, True),
    Command("tier.status", "tier.status [-j]", "Tell how the shared tier is doing, and which nodes there are.",
            0, 0, A, True),
    Command("tls.cert.list", "tls.cert.list [-j] [-s]", "List the TLS certificates in use; -s: what is staged only.",
            0, 1, A, True),
    Command("tls.cert.load", "tls.cert.load [<id>] <certificate> [-f <frontend>] [-k <private-key>] [-p <protos>] "
            "[-c <ciphers>] [-o] [-d]",
            "Load a certificate; it is used once committed. -o: our order of ciphers counts; -d: it is the default.",
            1, 14),
    Command("tls.cert.discard", "tls.cert.discard <id>", "Drop a certificate; it goes once committed.", 1, 1),
    Command("tls.cert.commit", "tls.cert.commit", "Make certificate changes take effect.", 0, 0),
    Command("tls.cert.rollback", "tls.cert.rollback", "Forget certificate changes not committed yet.", 0, 0),
    Command("tls.cert.reload", "tls.cert.reload", "Read all certificates from disk again.", 0, 0),
    Command("traffic.refuse", "traffic.refuse",
            "Stop accepting connections at once and drain the open ones.", 0, 0),
    Command("traffic.status", "traffic.status [-j]", "Tell whether traffic is accepted and what is still open.",
            0, 0, A, True),
    Command("traffic.stop", "traffic.stop",
            "Stop accepting connections and drain: HTTP/1 answers carry Connection: close, HTTP/2 sessions get GOAWAY.",
            0, 0),
    Command("traffic.start", "traffic.start", "Accept connections again.", 0, 0),
    Command("vcl.deps", "vcl.deps [-j]", "List VCL programs and those they depend on.", 0, 0, A, True),
    Command("vcl.discard", "vcl.discard <name_pattern>...", "Unload VCL programs and labels.", 1, -1),
    Command("vcl.inline", "vcl.inline <configname> <quoted_VCLstring> [auto|cold|warm]",
            "Compile and load VCL given as a word; a here-document may hold many lines.", 2, 3),
    Command("vcl.label", "vcl.label <label> <configname>", "Point a label at a VCL program.", 2, 2),
    Command("vcl.list", "vcl.list [-j]", "List the loaded VCL programs.", 0, 0, A, True),
    Command("vcl.load", "vcl.load <configname> <filename> [auto|cold|warm]", "Compile and load a VCL file.", 2, 3),
    Command("vcl.show", "vcl.show [-v] [<configname>]", "Show the source of a VCL program; -v: with includes.", 0, 2),
    Command("vcl.state", "vcl.state <configname> auto|cold|warm", "Force the state of a VCL program.", 2, 2),
    Command("vcl.symtab", "vcl.symtab", "Show what the compiler knows of each VCL program.", 0, 0, A | D),
    Command("vcl.use", "vcl.use <configname|label>", "Make a VCL program the active one.", 1, 1),
    Command("debug.fragfetch", "debug.fragfetch", "Read bodies of responses so many octets at a time.", 1, 1, A | D),
    Command("debug.listen_address", "debug.listen_address", "Show the sockets that listen.", 0, 0, A | D),
    Command("debug.panic.master", "debug.panic.master", "Make the manager panic.", 0, 0, A | D),
    Command("debug.panic.worker", "debug.panic.worker", "Make the child panic.", 0, 0, A | D),
    Command("debug.empty", "debug.empty", "Take every object out of the cache at once.", 0, 0, A | D),
    Command("debug.travel", "debug.travel <seconds>", "Move the child's clock; 0 brings it back.", 1, 1, A | D),
    Command(
        "debug.reqpool.fail",
        "debug.reqpool.fail",
        "Refuse a thread to requests by plan, read from left to right: F__F refuses the first and the fourth.",
        1,
        1,
        A | D,
    ),
    Command("debug.shutdown.delay", "debug.shutdown.delay", "Delay the child's end by so many seconds.", 1, 1, A | D),
    Command("debug.srandom", "debug.srandom", "Seed the random generator.", 0, 1, A | D),
    Command("debug.vmod", "debug.vmod", "List the VMODs in use.", 0, 0, A | D),
    Command("debug.xid", "debug.xid [<xid> [<cachesize>]]", "Show or set the next transaction id.", 0, 2, A | D),
    # between manager and child
    Command("param.push", "param.push <param> <value>", "Set a parameter in the child.", 2, 2, A | IN),
    Command("tls.file", "tls.file <path> [<base64>]", "Hand over a file that the child may not read.", 1, 2, A | IN),
    Command("accept.start", "accept.start", "Start taking traffic.", 0, 0, A | IN),
]  # fmt: skip

COMMANDS: dict[str, Command] = {row.name: row for row in sorted(_ROWS, key=lambda row: row.name)}
