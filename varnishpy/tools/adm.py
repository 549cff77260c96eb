"""``varnishpy adm``: the management CLI from the shell (varnishadm(1)).

With a command it runs that and prints the answer; without one it is a prompt. Address and secret are found in the
shared memory of the instance (``-n``), or given with ``-T`` and ``-S``.

With several instances (``-n a -n b``, ``-T host:port,host:port``) each is asked in turn and answers for itself. One
that cannot be reached keeps the others from nothing.
"""

from __future__ import annotations

import math
import socket
import sys
from pathlib import Path

from varnishpy.base.endpoint import EndpointError, parse_cli
from varnishpy.base.workdir import resolve_existing
from varnishpy.cli import protocol
from varnishpy.shm.reader import SetReader, VsmError
from varnishpy.tools.usage import HELP, VERSION, Option, ToolError, parse_words

PROGRAM = "varnishpy adm"
OPTIONS = [
    HELP,
    Option("n:", "[-n <dir>]", "Working directory of the instance; may be given again, for several"),
    Option("p", "[-p]", "Pass answers on in protocol form"),
    Option("S:", "[-S <file>]", "File with the secret"),
    Option("T:", "[-T <address:port>]", "Address of the CLI, or several, with commas between"),
    Option("t:", "[-t <seconds>]", "Seconds to wait (default: 5)"),
    VERSION,
]
WORDS = "[command [word ...]]"


class AdmError(Exception):
    """The CLI cannot be reached; the text is for the user."""


def _from_instance(workdir: Path, patience: float) -> tuple[list[str], str | None]:
    """CLI addresses and secret file of an instance."""
    reader = SetReader(workdir)
    try:
        reader.attach(patience)
    except VsmError as error:
        raise AdmError(f"{error}\n(working directory: {workdir})") from None
    address = reader.read_text("Arg", "-T")
    secret = reader.read_text("Arg", "-S")
    if not address:
        raise AdmError("-T arg not found in shared memory: the instance offers no CLI (was it started with -T none?)")
    return address.splitlines(), (secret or "").strip() or None


def connect(workdir: str | None, address: str | None, secret: str | None, timeout: float) -> socket.socket:
    """An authenticated CLI connection.

    :param workdir: the ``-n`` argument, used for what is not given
    :raises AdmError: if there is none to be had
    """
    addresses = [address] if address else []
    if not addresses:
        addresses, found = _from_instance(resolve_existing(workdir), timeout)
        secret = secret or found
    failure = "no address"
    for text in addresses:
        try:
            for family, target in parse_cli(text).resolve():
                sock = socket.socket(family, socket.SOCK_STREAM)
                try:
                    sock.settimeout(timeout)
                    sock.connect(target)
                    _authenticate(sock, secret, timeout)
                except OSError as error:
                    sock.close()
                    failure = f"{text}: {error.strerror or error}"
                    continue
                except BaseException:
                    sock.close()
                    raise
                return sock
        except EndpointError as error:
            failure = str(error)
    raise AdmError(f"Connection failed ({failure})")


def _authenticate(sock: socket.socket, secret: str | None, timeout: float) -> None:
    try:
        status, text = protocol.read_response(sock, timeout)
        if status == protocol.AUTH:
            if secret is None:
                raise AdmError("Authentication required: give the secret file with -S")
            try:
                data = Path(secret).read_bytes()
            except OSError as error:
                raise AdmError(f'Cannot open "{secret}": {error.strerror}') from None
            answer = protocol.auth_response(text[: protocol.CHALLENGE_LENGTH], data)
            sock.sendall(f"auth {answer}\n".encode())
            status, text = protocol.read_response(sock, timeout)
    except protocol.CliProtocolError as error:
        raise AdmError(f"Rejected {protocol.COMMS}\n{error}") from None
    if status != protocol.OK:
        raise AdmError(f"Rejected {status}\n{text}")
    sock.sendall(b"ping\n")
    try:
        status, text = protocol.read_response(sock, timeout)
    except protocol.CliProtocolError as error:
        raise AdmError(f"No pong received from server ({error})") from None
    if status != protocol.OK or "PONG" not in text:
        raise AdmError("No pong received from server")


def main(argv: list[str]) -> int:
    """Run the tool; returns the exit status: 0, 1 for a failed command or a wrong option, 2 for no connection."""
    try:
        given, command = parse_words(PROGRAM, OPTIONS, argv, WORDS)
        options = dict(given)  # of one given twice the last counts, but for instances
        plain = "p" in options
        timeout = _seconds(options.get("t", "5"))
        targets = _targets(given)
        if len(targets) > 1:
            return _several(targets, options.get("S"), timeout, command, plain)
        [(workdir, address)] = targets
        with connect(workdir, address, options.get("S"), timeout) as sock:
            if command:
                return _one(sock, command, plain)
            return _prompt(sock, plain)
    except (AdmError, ToolError, ValueError, protocol.CliProtocolError) as error:
        sys.stderr.write(f"{error}\n")
        return error.status if isinstance(error, ToolError) else 2


Target = tuple[str | None, str | None]  # -n and -T


def _targets(given: list[tuple[str, str]]) -> list[Target]:
    """The instances that the options name; with none the one of this host."""
    workdirs = [value for option, value in given if option == "n"]
    addresses = [address for option, value in given if option == "T" for address in value.split(",") if address]
    if len(workdirs) > 1 and addresses:
        raise ToolError("-n cannot be given several times together with -T")
    if len(workdirs) > 1:
        return [(workdir, None) for workdir in workdirs]
    workdir = workdirs[0] if workdirs else None
    return [(workdir, address) for address in addresses] or [(workdir, None)]


def _several(targets: list[Target], secret: str | None, timeout: float, command: list[str], plain: bool) -> int:
    """The same command for each instance; the worst of their statuses."""
    if not command:
        raise ToolError("a command is needed for several instances: the prompt is for one")
    worst = 0
    for workdir, address in targets:
        if not plain:
            sys.stdout.write(f"== {address or workdir} ==\n")
        try:
            with connect(workdir, address, secret, timeout) as sock:
                status = _one(sock, command, plain)
        except (AdmError, ValueError, protocol.CliProtocolError) as error:
            sys.stdout.flush()
            sys.stderr.write(f"{address or workdir}: {error}\n")
            status = 2
        worst = max(worst, status)
    return worst


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise ToolError(f"-t: Invalid argument: {text}", 2)
    return seconds


def ask(sock: socket.socket, line: str) -> tuple[int, str]:
    """Send one command line; its status and answer."""
    sock.settimeout(None)
    sock.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
    # a command may take long (vcl.load, stop): as long as the manager itself waits for the child
    return protocol.read_response(sock, 120.0)


def _one(sock: socket.socket, words: list[str], plain: bool) -> int:
    # not quoted: as with varnishadm, 'ban req.url ~ ^/news' may be given as one word or as many
    status, text = ask(sock, " ".join(words))
    _show(status, text, plain)
    if status in (protocol.OK, protocol.TRUNCATED):
        return 0
    if not plain:
        sys.stderr.write(f"Command failed with error code {status}\n")
    return 1


def _show(status: int, text: str, plain: bool) -> None:
    """Print an answer: its text or, for programs, the frame of the protocol without its last newline."""
    if plain:
        sys.stdout.write(protocol.frame(status, text).decode("utf-8", "replace")[:-1])
    else:
        sys.stdout.write(f"{text}\n")
        if status == protocol.TRUNCATED:
            sys.stdout.write("[response was truncated]\n")
    sys.stdout.flush()


def _prompt(sock: socket.socket, plain: bool) -> int:
    interactive = sys.stdin.isatty() and not plain
    if interactive:
        from varnishpy.tools.adm_line import editing  # the line editor is of use at a terminal only

        editing(lambda line: ask(sock, line))
        sys.stdout.write(ask(sock, "banner")[1] + "\n")
    while True:
        try:
            line = input("varnish> " if interactive else "")
        except EOFError:
            return 0
        if not line.strip():
            continue
        status, text = ask(sock, line)
        if interactive:
            sys.stdout.write(f"{status}\n")
        _show(status, text, plain)
        if status == protocol.CLOSE:
            return 0
