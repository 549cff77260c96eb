"""The manager process: everything of varnishpy that is not traffic, on one thread.

`Manager` is built from the command line in steps that each can fail with a clear message before the next begins; what a
failed step leaves behind is removed by `close`. Then `serve` runs the loop until a signal, the end of standard input
(``-d``) or a fatal fault.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import secrets
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from varnishpy import __version__
from varnishpy.base import endpoint, panic
from varnishpy.base.compiled import interpreter, is_free_threaded
from varnishpy.base.pidfile import PidFile, PidFileError
from varnishpy.base.workdir import resolve
from varnishpy.child import main as child_main
from varnishpy.child.heritage import TMPDIR, Heritage, panic_space
from varnishpy.cli.dispatch import CliSession, Dispatcher
from varnishpy.cli.protocol import OK, CliError
from varnishpy.manager import directories, jail, reach, tls_file
from varnishpy.manager.activation import Passed
from varnishpy.manager.certificates import CertificateMemory, hand_over, of_listeners, read_files
from varnishpy.manager.child_process import ChildProcess
from varnishpy.manager.cli_sockets import CliSockets
from varnishpy.manager.commands import ManagerCommands
from varnishpy.manager.compiler import CompilerSettings
from varnishpy.manager.complain import StartupError, complain
from varnishpy.manager.hangup import hang_up
from varnishpy.manager.loop import Loop
from varnishpy.manager.options import Options
from varnishpy.manager.service import ServiceManager
from varnishpy.manager.vcls import VclPrograms, backend_vcl, read_vcl_argument
from varnishpy.params import ParamError, params
from varnishpy.params import table as params_table
from varnishpy.params.spec import FLAG_NOTES, Flag
from varnishpy.session.tls_settings import TlsSettings, parse_load
from varnishpy.shm.process import ManagerShm
from varnishpy.stats import MgtName
from varnishpy.storage.config import StorageConfigError, parse_storage
from varnishpy.tier.config import take_tier
from varnishpy.tier.errors import TierConfigError
from varnishpy.vcl.symbols import LOWEST
from varnishpy.vcl.vmodfind import add_extension
from varnishpy.vcl.vmodspec import VmodError

# How often unused VCL is looked for (seconds).
_VCL_POKE: Final = 1.0


class Manager:
    """One varnishpy instance.

    :param service: who wants to be told how we are
    :param passed: listen sockets that we were started with
    :raises StartupError: from the constructor, for anything on the command line that cannot be done
    """

    def __init__(self, options: Options, argv: list[str], service: ServiceManager, passed: Passed) -> None:
        self._options = options
        self._argv = argv
        self.service = service
        self._passed = passed
        self._pid_files: list[PidFile] = []
        self._owns_workdir = False
        self._made_directories: list[Path] = []
        self._listen: list[tuple[endpoint.ListenEndpoint, socket.socket]] = []
        self._secret_made: Path | None = None
        self._programs = contextlib.ExitStack()  # what compiled programs leave behind
        self.last_panic = ""
        self.certificates = CertificateMemory()
        self.tls = TlsSettings()
        self.exit_status = 0
        self.loop = Loop()
        self.params_table = params_table
        self.dispatcher = Dispatcher(lambda: params.cli_limit, fault=lambda text: complain("Error", text.rstrip("\n")))
        self.cli = CliSockets(self.loop, self.dispatcher, self.banner, lambda: params.syslog_cli_traffic)
        self.memory: ManagerShm | None = None
        self.child = ChildProcess(
            self.loop, params, self._prepare_child, child_main.run, self._introduce, self._buried, self._count
        )
        try:
            self._set_up()
        except BaseException:  # Ctrl-C leaves as little behind as an error
            self.close()
            raise

    # -- set-up ----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        options = self._options
        self._set_parameters()
        self._jail = jail.parse(options.jail)
        self._jail_remark = ""
        try:
            self._storage, self.tier_spec = take_tier(options.storage)
            self.storage_specs = parse_storage(self._storage)
        except (StorageConfigError, TierConfigError) as error:
            raise StartupError(str(error), usage=True) from None
        self._name_storage_to_parameters()
        try:
            for spec in self.storage_specs:
                spec.check()
            if self.tier_spec is not None:
                self.tier_spec.check()
        except (StorageConfigError, TierConfigError) as error:
            raise StartupError(str(error)) from None
        self._extensions = self._add_extensions(options.extensions)
        self.identity = options.identity or ""
        self._listen_specs = self._parse_listen()
        with _signals_held():
            self.workdir = self._make_workdir()
        for spec in self.storage_specs:
            if spec.directory is not None:
                self._pid_files += directories.claim(spec.directory, self._jail)
            elif spec.file is not None and spec.file.is_file():
                self._jail.give(spec.file)
        self._own_certificates = [*of_listeners(self._listen_specs), *self.tls.certificates]
        self.ident = self._platform()
        self._open_listen()
        self.certificates.nameless = sum("cert" in spec.options for spec in self._listen_specs) + sum(
            not spec.ident for spec in self.tls.certificates
        )
        with _signals_held():
            self.memory = ManagerShm(self.workdir, self.identity)
        self.memory.mgt.set("uptime", 0)
        self._set_up_cli()
        stevedores = tuple(spec.ident for spec in self.storage_specs)
        owner = self._jail
        settings = CompilerSettings(
            stevedores,
            runs_as=(owner.uid, owner.gid, owner.groups) if owner.gives_up_rights else None,
            lowest_syntax=self._lowest_syntax(),
        )
        self.vcls = VclPrograms(self.workdir, params, settings, self._ask_running_child)
        self._programs.callback(self.vcls.discard_directories)
        ManagerCommands(self).bind()
        self._load_vcl()
        self._run_cli_file()

    def _set_parameters(self) -> None:
        for name, text in self._options.parameters:
            try:
                self.params_table.set(name, text)
            except ParamError as error:
                raise StartupError(f"\n{error}") from None
            if self.params_table.spec(name).flags & Flag.NO_EFFECT:
                complain("Info", f"-p {name}: {FLAG_NOTES[Flag.NO_EFFECT]}")
        if params.debug.vtc_mode:
            self._speak_as_varnish()
        for name in self._options.read_only:
            try:
                self.params_table.protect(name)
            except ParamError as error:
                raise StartupError(f"\n{error}") from None

    def _name_storage_to_parameters(self) -> None:
        """From here on a parameter that names a storage must name one of this instance's."""
        known = {spec.ident for spec in self.storage_specs}
        row = self.params_table.spec("h2_rxbuf_storage")
        row.check = lambda text: "" if text in known else f"unknown storage backend '{text}'"
        wrong = row.check(params.h2_rxbuf_storage)
        if wrong:
            raise StartupError(f"\n{wrong}")

    def _speak_as_varnish(self) -> None:
        """Varnish's scripts hold Varnish's reading of HTTP: vtc_mode brings what makes it ours, unless refused."""
        for bit in ("h2_compat", "http1_compat", "cache_compat"):
            if any(name == "feature" and bit in text for name, text in self._options.parameters):
                continue
            default = self.params_table.spec("feature").default
            self.params_table.set_default("feature", f"+{bit}" if default == "none" else f"{default},+{bit}")
            self.params_table.set("feature", f"+{bit}")
        defaults = {
            "thread_pools": "2",  # they count its threads and look into both
            "http_req_overflow_status": "0",
        }
        for parameter, text in defaults.items():
            if all(name != parameter for name, _ in self._options.parameters):
                self.params_table.set_default(parameter, text)

    @staticmethod
    def _add_extensions(paths: list[str]) -> list[str]:
        try:
            return [add_extension(path) for path in paths]
        except VmodError as error:
            raise StartupError(f"-E {error}") from None

    def _parse_listen(self) -> list[endpoint.ListenEndpoint]:
        found: list[endpoint.ListenEndpoint] = []
        names: set[str] = set()
        listen = self._options.listen
        if self._options.tls_file is not None:
            self.tls = tls_file.read(self._options.tls_file)
        elif not listen:
            listen = self._passed.default_arguments() or [":80"]
        # the names of -a are counted without those of -A, which come first
        for index, text in enumerate([*self.tls.listen, *listen], -len(self.tls.listen)):
            try:
                spec = endpoint.parse_listen(text, f"a{index}")
            except endpoint.EndpointError as error:
                raise StartupError(str(error), usage=not isinstance(error, endpoint.CredentialError)) from None
            if spec.name in names:
                raise StartupError(f"Listening name {spec.name} is used twice (in -a)", usage=True)
            names.add(spec.name)
            found.append(spec)
        return found

    def _make_workdir(self) -> Path:
        try:
            path = resolve(self._options.workdir)
        except ValueError as error:
            raise StartupError(str(error), usage=True) from None
        try:
            self._made_directories = directories.make(path)
        except OSError as error:
            raise StartupError(f"Cannot create working directory '{path}': {error.strerror}") from None
        for name in self._options.pid_files:
            self._lock(name)
        self._lock(path / "_.pid")
        self.workdir = path
        self._owns_workdir = True
        directories.sweep(path)
        if self._options.jail is None and not params.debug.vtc_mode:  # scripts make sockets and files for one user
            self._jail, self._jail_remark = jail.choose(reach.of_child(self._options, self.storage_specs, path))
        directories.renew_tmpdir(path, self._jail)
        if self.tier_spec is not None:
            directories.make_state(path, self._jail)
        if self._jail.name == "linux" and directories.file_system(path) != "tmpfs":
            complain("Info", "Working directory not mounted on tmpfs partition")
        return path

    def _lock(self, path: str | Path) -> None:
        """Take a file for our process id; one that has another manager's says that it runs."""
        try:
            self._pid_files.append(PidFile(path))
        except PidFileError as error:
            if error.holder is None:
                raise StartupError(f"Could not open pid-file ({path}): {error}") from None
            self._made_directories = []
            raise StartupError(
                f"varnishd is already running (pid={error.holder}) (pidfile={path})\n"
                "(Use unique -n arguments if you want multiple instances)"
            ) from None

    def _platform(self) -> str:
        system = platform.uname()
        parts = [system.system, system.release, system.machine, f"-j{self._jail.name}"]
        parts += [f"-s{spec.method}" for spec in self.storage_specs]
        return ",".join([*parts, "-hcritbit"])

    def _open_listen(self) -> None:
        taken: dict[endpoint.SockAddr, str] = {}
        for spec in self._listen_specs:
            try:
                if spec.passed:
                    sockets = self._passed.open(spec, params.listen_depth)
                else:
                    sockets = endpoint.open_listen(spec, params.listen_depth, params.tcp_fastopen, taken)
            except endpoint.EndpointError as error:
                raise StartupError(str(error)) from None
            self._listen += [(spec, sock) for sock in sockets]
        try:
            self._passed.check_all_used()
        except endpoint.EndpointError as error:
            raise StartupError(str(error)) from None

    def _lowest_syntax(self) -> int:
        """A Unix socket has no address that VCL 4.0 could be told."""
        return 41 if any(spec.address.is_uds for spec in self._listen_specs) else LOWEST

    def _set_up_cli(self) -> None:
        assert self.memory is not None
        options = self._options
        self._open_cli()  # before there is a secret: who sees that finds the address as well
        if options.secret != "none":
            if options.secret is None:
                with _signals_held():
                    path = self._make_secret()
            else:
                path = Path(options.secret).absolute()
                try:
                    path.read_bytes()
                except OSError as error:
                    raise StartupError(f"Cannot open -S file ({path}): {error.strerror}") from None
            self.cli.secret_file = path
            self.memory.set_arg("-S", str(path))
        self._masters = []
        for text in options.cli_masters:
            try:
                resolved = endpoint.parse_cli(text).resolve()
            except endpoint.EndpointError as error:
                raise StartupError(f"Could not resolve -M argument to address\n\t{error}", usage=True) from None
            self._masters.append([(int(family), address) for family, address in resolved])
            self.memory.set_arg("-M", f"{text}\n")

    def _open_cli(self) -> None:
        assert self.memory is not None
        options = self._options
        wanted = options.cli_listen or ["localhost:0"]
        addresses = []
        for text in wanted:
            if text == "none":
                continue
            try:
                if not text:
                    raise endpoint.EndpointError("Could not resolve -T argument to address\n\tit is empty")
                sockets = endpoint.open_cli(text)
            except endpoint.EndpointError as error:
                raise StartupError(str(error)) from None
            for sock in sockets:
                self.cli.listen(sock)
                host, port = endpoint.split_name(sock.getsockname())
                addresses.append(f"{sock.getsockname()} -\n" if sock.family == socket.AF_UNIX else f"{host} {port}\n")
        if addresses:
            self.memory.set_arg("-T", "".join(addresses))

    def _make_secret(self) -> Path:
        path = self.workdir / "_.secret"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            text = f"Cannot remove preexisting secret-file in {self.workdir} ({error.strerror})"
            raise StartupError(text) from None
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with open(fd, "wb") as file:
            file.write(secrets.token_bytes(256))
        self._secret_made = path
        return path

    def _load_vcl(self) -> None:
        options = self._options
        notes = ""
        try:
            if options.backend is not None:
                notes = self.vcls.load_at_startup(backend_vcl(options.backend), "<-b argument>", "boot")
            programs = [read_vcl_argument(name, params) for name in options.vcl_files if name]
            for source, origin in programs:
                notes = self.vcls.load_at_startup(source, origin, "boot" if len(programs) == 1 else None)
        except CliError as error:
            raise StartupError(f"\n{error.text}") from None
        if notes:
            complain("Info", notes.rstrip("\n"))

    def _run_cli_file(self) -> None:
        name = self._options.cli_file
        if name is None:
            return
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise StartupError(f"\tCan't open {name}: {error.strerror}") from None
        session = CliSession(self.dispatcher, True, "-I file")
        failures: list[tuple[str, int, str]] = []

        def audit(_: CliSession, line: str, status: int | None, answer: str) -> None:
            if status is not None and status != OK and not line.startswith("-"):
                failures.append((line, status, answer))

        session.audit = audit
        sys.stderr.write("BEGIN of -I file processing\n")
        for line in data.splitlines(keepends=True):
            sys.stderr.write(session.feed(line).decode("utf-8", "replace"))
            if failures:
                _, status, answer = failures[0]
                raise StartupError(f"-I file CLI command failed ({status})\n{answer}")
        if session.unfinished:
            raise StartupError("-I file had incomplete CLI command at the end")
        sys.stderr.write("END of -I file processing\n")

    # -- life ------------------------------------------------------------------------------------------------------

    def write_pids(self) -> None:
        """Note our process id in the working directory and the ``-P`` files; after the last fork."""
        for file in self._pid_files:
            file.write()

    def launch(self) -> None:
        """Start the child, unless ``-d`` leaves that to the operator or there is no VCL.

        :raises StartupError: if it does not come up
        """
        complain("Debug", f"Version: varnishpy-{__version__}")
        complain("Debug", f"Platform: {self.ident}")
        if self._jail_remark:
            complain("Security", self._jail_remark)
        if is_free_threaded():  # whether that is so in fact depends on what was imported
            complain("Debug", f"Interpreter: {interpreter()}")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            urgent = number != signal.SIGHUP or self._options.debug  # else it is a reload
            self.loop.on_signal(number, functools.partial(self._signalled, number), urgent)
        self.loop.on_signal(signal.SIGCHLD, self.child.reap_all)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self.loop.after(_VCL_POKE, self._poke_vcls)
        for addresses in self._masters:
            self.cli.call_master(addresses)
        if self._options.debug or self.vcls.active is None:
            if self.vcls.active is None and not self._options.debug:
                complain("Info", "No VCL loaded yet: load one with vcl.load, then start")
            return
        certified = bool(self.certificates or self.tls.certificates)
        for spec in self._listen_specs:
            if spec.proto == "HTTPS" and not certified and "cert" not in spec.options:
                raise StartupError(f"-a {spec.text} has no certificate: add cert=FILE, a PEM file with the private key")
        try:
            self.child.start()
        except CliError as error:
            raise StartupError(error.text) from None
        complain("Info", "Child launched OK")
        for spec, sock in self._listen:
            complain("Info", f"Listening on {endpoint.shown(spec, sock)} ({spec.name})")

    def serve(self) -> int:
        """Run until told to end; returns the exit status."""
        if self._options.debug:
            self.cli.serve_stdin(self.loop.stop)
        self.service.ready()
        self.service.watch_over(self.loop, params.cli_timeout)
        try:
            self.loop.run()
        except (Exception, panic.Panic):
            # a defect, or debug.panic.master: the child must not outlive us, nor may the reason go unheard
            complain("Error", f"The manager fails:\n{traceback.format_exc()}")
            self.exit_status = 1
        self.service.stopping()
        complain("Info", "manager stopping child")
        self.child.stop()
        complain("Info", "manager dies")
        return self.exit_status

    def close(self) -> None:
        """Leave nothing behind: sockets, files and directories that this manager made."""
        self.cli.close()
        endpoint.close_all([sock for _, sock in self._listen])
        if self.memory is not None:
            self.memory.close(keep=params.debug.vsm_keep)
        self._programs.close()
        if self._secret_made is not None:
            self._secret_made.unlink(missing_ok=True)
        if self._owns_workdir:
            (self.workdir / "stats.sock").unlink(missing_ok=True)
            shutil.rmtree(self.workdir / TMPDIR, ignore_errors=True)
        while self._pid_files:
            self._pid_files.pop().remove()
        for directory in self._made_directories:
            # one that somebody else has put files into is theirs
            with contextlib.suppress(OSError):
                directory.rmdir()
        self.loop.close()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP and not self._options.debug:
            hang_up(self.dispatcher)
            return
        complain("Info", f"Manager got {signal.Signals(number).name}")
        self.loop.stop()

    def _poke_vcls(self) -> None:
        try:
            self.vcls.cool_unused()
        except CliError as error:
            complain("Error", f"Cooling VCL: {error.text}")
        if self.memory is not None:
            self.memory.publisher.flush()
        active = self.vcls.active
        self.service.status(f"Child {self.child.state}, active VCL: {active.name if active else 'none'}")
        self.loop.after(_VCL_POKE, self._poke_vcls)

    # -- what other parts ask for ----------------------------------------------------------------------------------

    def banner(self) -> str:
        """The welcome of a CLI connection."""
        lines = [
            "-----------------------------",
            "Varnish Cache CLI 1.0",
            "-----------------------------",
            self.ident,
            f"varnishpy-{__version__}",
            "",
            "Type 'help' for command list.",
            "Type 'quit' to close CLI session.",
        ]
        if not self.child.running:
            lines.append("Type 'start' to launch worker process.")
        return "\n".join(lines) + "\n"

    def set_parameter(self, name: str, value: str | None) -> str:
        """Set a parameter here and in the child, or reset it (None); returns notes for the user.

        :raises ParamError: if it cannot be set
        """
        notes = self.params_table.set(name, value, running=self.child.running)
        if self.child.running:
            status, text = self.child.ask(["param.push", name, self.params_table.text(name)])
            if status != OK:
                raise ParamError(f"the child refused it: {text}")
        return notes

    def zero_panic_counter(self) -> None:
        """``panic.clear -z``"""
        if self.memory is not None:
            self.memory.mgt.set("child_panic", 0)

    def _ask_running_child(self, words: list[str]) -> tuple[int, str] | None:
        return self.child.ask(words) if self.child.running else None

    def _count(self, name: MgtName) -> None:
        if self.memory is not None:
            self.memory.mgt.inc(name)
            self.memory.publisher.flush()

    # -- the child -------------------------------------------------------------------------------------------------

    def _prepare_child(self, cli: socket.socket) -> Heritage:
        assert self.memory is not None
        directories.renew_tmpdir(self.workdir, self._jail)
        self._jail.give(self.memory.new_child())
        return Heritage(
            workdir=self.workdir,
            identity=self.identity,
            argv=self._argv,
            version=__version__,
            ident=self.ident,
            cli=cli,
            listen=self._listen,
            tls=self.tls,
            certificates=self._own_certificates,
            files=read_files(self._own_certificates) if self._jail.gives_up_rights else {},
            parameters=self.params_table.texts(changed=True),
            storage=self._storage,
            tier=self.tier_spec,
            extensions=self._extensions,
            jail=self._jail,
            panic=panic_space(params.panic_buffer),
            last_panic=self.last_panic,
        )

    def _introduce(self) -> None:
        self.vcls.push_all(self.child.ask)
        if self._jail.gives_up_rights:
            hand_over(self.child.ask, self.certificates.specs())
        self.certificates.tell(self.child.ask)

    def hand_over_certificates(self, loading: list[str]) -> None:
        """Before the child reads files of certificates: of the one that is loaded with these words, or of all."""
        if not self._jail.gives_up_rights:
            return
        try:
            specs = [parse_load(loading)] if loading else [*self._own_certificates, *self.certificates.specs()]
        except ValueError:
            return  # the child says what is wrong
        hand_over(self.child.ask, specs)

    def _buried(self, text: str, number: int, code: int, core: bool) -> None:
        assert self.memory is not None
        self.memory.child_gone(keep=params.debug.vsm_keep or params.debug.vtc_mode)
        (self.workdir / "stats.sock").unlink(missing_ok=True)
        if text:
            self.last_panic = text
        if core:
            self.exit_status |= 0x80
        if number:
            self.exit_status |= 0x40
        elif code:
            self.exit_status |= 0x20


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A signal that ends the start comes before or after the block: what the block makes is then known to `close`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
