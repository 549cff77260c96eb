"""The command line of the daemon: varnishd's options with varnishd's meaning."""

from __future__ import annotations

import getopt
from dataclasses import dataclass, field
from typing import Final

from varnishpy.base.near import did_you_mean
from varnishpy.manager.complain import StartupError

OPTSTRING: Final = "?A:a:b:CdE:f:Fh:i:I:j:l:M:n:P:p:r:S:s:T:t:VW:x:"

# long options, all of which stand alone; all but the last are seen to before the daemon's options are read
_LONG: Final = ("help", "version", "optstring")

# option, what it is for; the source of the usage text and of docs/command-line.md
OPTION_TEXTS: Final = [
    ("Basic options", [
        (
            "-a [name=]address[:port][,PROTO][,option=value]",
            "where to listen; may be given many times (default: the sockets that were passed, else :80)",
        ),
        ("-A file", "listeners that speak TLS, and their certificates"),
        ("-b address[:port] | path | none", "the one backend; not together with -f"),
        ("-f file", "a VCL program, found along vcl_path unless absolute; the last of many is used; '' for none"),
        ("-n dir", "working directory, which also names the instance"),
    ]),
    ("Operations options", [
        ("-F", "stay in the foreground"),
        ("-d", "stay in the foreground with the CLI on standard input; 'start' starts the child"),
        ("-T address[:port] | none", "where the CLI listens (default localhost, any port)"),
        ("-M address:port", "connect to this address and offer the CLI there"),
        ("-S file | none", "secret for the CLI (default: made in the working directory)"),
        ("-P file", "write the manager's process id to this file, which nobody else may have; may be given many times"),
        ("-i identity", "identity of this instance"),
        ("-I file", "CLI commands to run before the child starts"),
        ("-E file", "a Python extension to load in the child before any VCL"),
    ]),
    ("Tuning options", [
        ("-p name=value", "set a parameter; may be given many times"),
        ("-r name[,name...]", "make parameters read-only for the CLI"),
        ("-t seconds", "default TTL"),
        (
            "-s [name=]kind[,options]",
            "storage: malloc[,size], file,path[,size], persistent,directory,size (outlives a restart), debug[,options]"
            " for tests; may be given many times",
        ),
        ("-l size", "size of the shared memory log (default 80m)"),
        ("-h kind", "hash: critbit, classic or simple_list (one implementation serves all)"),
        ("-W waiter", "waiter: epoll or poll (both served by epoll)"),
        ("-j jail[,options]", "none, or (root's default) unix[,user=name][,ccgroup=name]: the child gives up root"),
    ]),
    ("Information", [
        ("-C", "print what the VCL compiles to, and exit"),
        ("-V", "print the version, and exit"),
        ("-x parameter|vsl|cli|builtin|optstring", "print a reference, and exit"),
        ("-?", "this text"),
    ]),
]  # fmt: skip


@dataclass(slots=True)
class Options:
    """The command line, taken apart; values are still the user's words."""

    listen: list[str] = field(default_factory=list)  # -a
    tls_file: str | None = None  # -A
    backend: str | None = None  # -b
    vcl_files: list[str] = field(default_factory=list)  # -f
    compile_only: bool = False  # -C
    debug: bool = False  # -d
    foreground: bool = False  # -F
    extensions: list[str] = field(default_factory=list)  # -E
    hash_kind: str | None = None  # -h
    identity: str | None = None  # -i
    cli_file: str | None = None  # -I
    jail: str | None = None  # -j
    cli_masters: list[str] = field(default_factory=list)  # -M
    workdir: str | None = None  # -n
    pid_files: list[str] = field(default_factory=list)  # -P
    parameters: list[tuple[str, str]] = field(default_factory=list)  # -p; -t is default_ttl, -l vsl_space
    read_only: list[str] = field(default_factory=list)  # -r
    secret: str | None = None  # -S
    storage: list[str] = field(default_factory=list)  # -s
    cli_listen: list[str] = field(default_factory=list)  # -T
    version: bool = False  # -V
    waiter: str | None = None  # -W
    reference: str | None = None  # -x
    usage: bool = False  # -?


def usage() -> str:
    """The text of ``-?``."""
    # the first line is varnishd's own, for who looks for it
    out = ["Usage: varnishd [options]", "       varnishpy [options]"]
    out += ["       varnishpy --help     (the subcommands)", ""]
    for title, rows in OPTION_TEXTS:
        out.append(f"{title}:")
        out += [f"  {option:<48} {text}" for option, text in rows]
        out.append("")
    return "\n".join(out)


def parse(argv: list[str]) -> Options:
    """Take the command line apart.

    :raises StartupError: for anything that is not understood
    """
    options = Options()
    if argv[:1] == ["--optstring"]:  # the older name of it
        argv = ["-x", "optstring", *argv[1:]]
    try:
        pairs, rest = getopt.getopt(argv, OPTSTRING)
    except getopt.GetoptError as error:
        # in the words of getopt(3), which the C programs pass on
        wrong = "option requires an argument" if "requires" in error.msg else "invalid option"
        near = did_you_mean(error.opt, _LONG).replace("mean ", "mean --") if len(error.opt) > 1 else ""
        raise StartupError(f"{wrong} -- '{error.opt}'{near}", usage=True) from None
    for index, (option, value) in enumerate(pairs):
        _take(options, option, value, index, len(pairs) + len(rest))
    if rest:
        raise StartupError(f"Too many arguments ({rest[0]}...)", usage=True)
    _check(options)
    return options


def _take(options: Options, option: str, value: str, index: int, count: int) -> None:
    match option:
        case "-?":
            options.usage = True
        case "-V":
            if index:
                raise StartupError("-V must be the first argument", usage=True)
            if count > 1:
                raise StartupError("Too many arguments for -V", usage=True)
            options.version = True
        case "-x":
            if index:
                raise StartupError("-x must be the first argument", usage=True)
            if count > 1:
                raise StartupError("Too many arguments for -x", usage=True)
            options.reference = value
        case "-A":
            options.tls_file = value
        case "-a":
            options.listen.append(value)
        case "-b":
            if options.backend is not None:
                raise StartupError("Only one -b can be specified", usage=True)
            options.backend = value
        case "-C":
            options.compile_only = True
        case "-d":
            options.debug = True
        case "-E":
            options.extensions.append(value)
        case "-f":
            options.vcl_files.append(value)
        case "-F":
            options.foreground = True
        case "-h":
            options.hash_kind = value
        case "-i":
            options.identity = value
        case "-I":
            if options.cli_file is not None:
                raise StartupError("\tOnly one -I allowed", usage=True)
            options.cli_file = value
        case "-j":
            options.jail = value
        case "-l":
            options.parameters.append(("vsl_space", value.partition(",")[0]))
        case "-M":
            options.cli_masters.append(value)
        case "-n":
            options.workdir = value
        case "-P":
            options.pid_files.append(value)
        case "-p":
            name, equals, text = value.partition("=")
            if not equals:
                raise StartupError("\t-p lacks '='", usage=True)
            options.parameters.append((name, text))
        case "-t":
            options.parameters.append(("default_ttl", value))
        case "-r":
            options.read_only += [name for name in value.replace(",", " ").split() if name]
        case "-S":
            options.secret = value
        case "-s":
            options.storage.append(value)
        case "-T":
            options.cli_listen.append(value)
        case "-W":
            options.waiter = value


def _check(options: Options) -> None:
    if options.usage or options.version or options.reference is not None:
        return
    if options.backend is not None and options.vcl_files:
        raise StartupError("Only one of -b or -f can be specified", usage=True)
    if options.debug and options.foreground:
        raise StartupError("Only one of -d or -F can be specified", usage=True)
    if options.compile_only:
        if options.backend is None and not options.vcl_files:
            raise StartupError("-C needs either -b <backend> or -f <vcl_file>", usage=True)
        if options.debug:
            raise StartupError("-d makes no sense with -C", usage=True)
        if options.foreground:
            raise StartupError("-F makes no sense with -C", usage=True)
    if options.backend is None and not options.vcl_files and not options.debug:
        raise StartupError("Neither -b nor -f given. (use -f '' to override)", usage=True)
    if options.hash_kind is not None:
        _check_hash(*options.hash_kind.split(","))
    if options.jail == "":
        raise StartupError("-j argument is empty", usage=True)
    if options.waiter is not None and options.waiter not in ("epoll", "poll", "default"):
        raise StartupError(f'Unknown waiter method "{options.waiter}"', usage=True)
    if options.identity is not None:
        for char in options.identity:
            if not (char.isalnum() or char in "-_.~!#$%&'*+^`|"):
                raise StartupError(f"Invalid character '{char}' for -i", usage=True)


def _check_hash(method: str, *arguments: str) -> None:
    if not method:
        raise StartupError("-h argument is empty", usage=True)
    if method not in ("critbit", "classic", "simple_list"):
        raise StartupError(f'Unknown hash method "{method}"', usage=True)
    if arguments and method != "classic":
        raise StartupError(f'Hash method "{method.removesuffix("_list")}" takes no arguments', usage=True)
