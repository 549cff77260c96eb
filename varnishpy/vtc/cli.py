"""``varnishpy test``: the command line of the test language."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from varnishpy.kit.coverage_run import CoverageRun
from varnishpy.tools.usage import HELP, VERSION, Option, ToolError, parse_words, usage

from . import dialect, numbers, warm
from .errors import ScriptError
from .job import Verdict
from .progress import Progress
from .runner import Finished, Interrupted, Options, Runner, interruptible
from .text import Source
from .watching import watch

USAGE_ERROR = 2
PROGRAM: Final = "varnishpy test"
OPTIONS: Final = [
    Option("b:", "[-b <size>]", "Size of a test's log buffer (default: 1M)"),
    Option("C", "[-C]", "Clean up after tests from a process of its own: taken as given, it is always so"),
    Option("D:", "[-D <name=value>]", "Define a macro; -D varnishd=PROGRAM tests that program"),
    HELP,
    Option("i", "[-i]", "We are in the source tree: 'feature topbuild' holds"),
    Option("j:", "[-j <jobs>]", "Run so many tests at a time"),
    Option("k", "[-k]", "Go on after a failure"),
    Option("L", "[-L]", "Keep the directories of all tests"),
    Option("l", "[-l]", "Keep the directories of tests that fail"),
    Option("n:", "[-n <iterations>]", "Run the tests so many times"),
    Option("p:", "[-p <name=value>]", "Set a parameter of the daemon under test"),
    Option("q", "[-q]", "Quiet: report failures only"),
    Option("t:", "[-t <seconds>]", "How long a test may take (default: 60)"),
    VERSION,
    Option("v", "[-v]", "Verbose: show the whole log of every test"),
    Option("W", "[-W]", "Also tell about things a script should not do (with --check)"),
    Option("x", "[-x]", "Stop at the first failure (as without -k)"),
    Option("", "[--check]", "Only look for mistakes in the scripts", "check"),
    Option("", "[--compat]", "Exit as vtest(1) does: 2 for a failed test without -k", "compat"),
    Option("", "[--explain]", "Only say what the scripts do", "explain"),
    Option("", "[--github]", "Failures as annotations, too (by itself in a workflow of that code host)", "github"),
    Option(":", "[--junit <file>]", "Write the results as JUnit XML", "junit"),
    Option(":", "[--language <name>]", "Of the scripts: current or 7.1 (default: that of the daemon)", "language"),
    Option("", "[--no-progress]", "No progress line on a terminal", "no-progress"),
    Option(":", "[--seed <number>]", "Make what is random the same every time", "seed"),
    Option("", "[--shuffle]", "Run the tests in an order drawn by lot (--seed repeats it)", "shuffle"),
    Option("", "[--vcl-cov]", "Tell which lines and branches of VCL files were passed", "vcl-cov"),
    Option(":", "[--vcl-cov-fail-under <number>]", "Fail if fewer per cent were passed", "vcl-cov-fail-under"),
    Option(":", "[--vcl-cov-report <kind[:path]>]", "Also write it: html, lcov or xml", "vcl-cov-report"),
    Option("", "[--watch]", "Run again whenever a script or a file beside it has changed", "watch"),
]
WORDS: Final = "file|folder ..."


def _wrong(text: str) -> ToolError:
    """The command line is wrong."""
    return ToolError(f"{PROGRAM}: {text}", USAGE_ERROR)


def _title(text: str) -> str:
    match = re.search(r'^\s*(?:vtest|varnishtest)\s+(?:"((?:[^"\\]|\\.)*)"|\{([^}]*)\})', text, re.MULTILINE)
    return (match.group(1) or match.group(2) or "") if match else ""


def title(source: Source) -> str:
    """What a script says it tests."""
    return _title(source.text)


def load(name: str) -> Source:
    """Read a script.

    :raises OSError: it cannot be read
    :raises ScriptError: it does not begin with its title
    """
    source = Source(name, Path(name).read_bytes().decode("latin-1"))
    first = re.match(r"(?:\s*(?:#[^\n]*\n)?)*", source.text)
    at = first.end() if first is not None else 0
    if re.match(r"(?:varnishtest|vtest)\s", source.text[at:]) is None:
        what = "has no content" if at >= len(source.text) else "doesn't start with 'vtest' or 'varnishtest'"
        raise ScriptError(f'File "{name}" {what}', source.position(min(at, max(len(source.text) - 1, 0))))
    return source


def _files(words: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if os.path.isdir(word):
            found.extend(str(path) for path in sorted(Path(word).rglob("*.vtc")))
        else:
            found.append(word)
    return found


class Command:
    """A parsed command line."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.options = Options(warm=warm.is_fresh())
        self.verbosity = 1
        self.mode = ""
        self.junit = ""
        self.warnings = False
        self.progress = True
        self.compat = False
        self.coverage = CoverageRun()
        self.shuffle = False
        self.watch = False
        self.annotate = os.environ.get("GITHUB_ACTIONS") == "true"
        settings = self.options.settings
        duration = os.environ.get("VTEST_DURATION") or os.environ.get("VARNISHTEST_DURATION")
        if duration:
            settings.max_duration = self._number("VTEST_DURATION", duration)
        found, self.words = parse_words(PROGRAM, OPTIONS, list(argv), WORDS, USAGE_ERROR, anywhere=True)
        for key, value in found:
            self._take(key, value)

    @staticmethod
    def _number(option: str, value: str) -> int:
        number = numbers.whole_unsigned(value)
        if not number:
            raise _wrong(f"{option}: expected a number above 0, not {value!r}")
        return number

    @staticmethod
    def _percentage(option: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 100:
            raise _wrong(f"{option}: expected a number from 0 to 100, not {value!r}")
        return number

    @staticmethod
    def _writable(option: str, name: str) -> str:
        """A file that can be written: better to hear now than after all tests that it cannot."""
        target = Path(name)
        if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
            raise _wrong(f"{option}: cannot write {name!r}")
        return name

    def _take(self, key: str, value: str) -> None:
        option = f"-{key}" if len(key) == 1 else f"--{key}"
        options, settings = self.options, self.options.settings
        match key:
            case "b":
                try:
                    options.buffer_size = max(numbers.size(value), 4096)
                except ValueError as error:
                    raise _wrong(f"Cannot parse b opt '{value}': {error}") from None
            case "C":
                pass  # the runner cleans up after its workers
            case "D":
                name, equals, text = value.partition("=")
                if not equals or not name:
                    raise _wrong(f"Cannot parse D opt '{value}': expected name=value")
                settings.macros[name] = text
            case "i":
                settings.in_build_tree = True
                root = str(Path(__file__).resolve().parents[2])
                settings.macros.setdefault("topsrc", root)
                settings.macros.setdefault("topbuild", root)
            case "j":
                options.jobs = self._number(option, value)
            case "k":
                options.keep_going = True
            case "x":
                options.keep_going = False
            case "L":
                options.keep_always = True
            case "l":
                options.keep_on_failure = True
            case "n":
                options.iterations = self._number(option, value)
            case "p":
                settings.parameters.append(value)
            case "q":
                self.verbosity = max(self.verbosity - 1, 0)
            case "v":
                self.verbosity = min(self.verbosity + 1, 2)
            case "t":
                settings.max_duration = float(self._number(option, value))
            case "W":
                self.warnings = True
            case "check" | "explain":
                self.mode = key
            case "junit":
                self.junit = self._writable(option, value)
            case "language":
                if value not in dialect.DIALECTS:
                    known = ", ".join(dialect.DIALECTS)
                    raise _wrong(f"--language: expected one of {known}, not {value!r}")
                settings.language = dialect.DIALECTS[value]
            case "seed":
                number = numbers.whole_unsigned(value)
                if number is None:
                    raise _wrong(f"--seed: expected a number, not {value!r}")
                options.seed = number
            case "no-progress":
                self.progress = False
            case "compat":
                self.compat = True
            case "shuffle":
                self.shuffle = True
            case "watch":
                self.watch = True
            case "github":
                self.annotate = True
            case "vcl-cov":
                self.coverage.wanted = True
            case "vcl-cov-report":
                self.coverage.reports.append(value)
            case "vcl-cov-fail-under":
                self.coverage.least = self._percentage(option, value)


def main(argv: Sequence[str]) -> int:
    """Run tests: 0 all passed (some may have been skipped), 77 all skipped, 1 some failed, 2 something is wrong."""
    try:
        command = Command(argv)
        if not command.words:
            text = usage(PROGRAM, OPTIONS, WORDS)
            if command.compat:  # vtest's first word
                text = text.replace("Usage:", "usage:", 1)
            raise _wrong(f"no file to test\n{text}")
    except ToolError as error:
        print(error, file=sys.stderr)
        return error.status
    except SystemExit:  # -h and -V
        return 1 if "--compat" in argv else 0
    if not command.watch:
        return _once(command)
    return watch(command.words, lambda: _once(Command(argv)), lambda text: print(text, flush=True))


def _once(command: Command) -> int:
    """Everything but the watching."""
    sources: list[Source] = []
    unreadable = 0
    for word in command.words:
        if os.path.isdir(word) and not _files([word]):
            print(f"varnishpy test: there is no script (*.vtc) in {word}", file=sys.stderr)
            return USAGE_ERROR
    for name in _files(command.words):
        try:
            sources.append(load(name))
        except OSError as error:
            print(f'Cannot read file "{name}": {error.strerror}', file=sys.stderr)
            unreadable += 1
        except ScriptError as error:
            print(error, file=sys.stderr)
            unreadable += 1
    if command.mode == "check":
        from . import check

        return check.main(sources, command.options.settings, command.warnings) or (USAGE_ERROR if unreadable else 0)
    if command.mode == "explain":
        from . import explain

        return explain.main(sources, command.options.settings) or (USAGE_ERROR if unreadable else 0)
    if unreadable and not command.options.keep_going:
        return USAGE_ERROR
    if not command.coverage.is_on:
        return _run(command, sources, unreadable)
    with command.coverage:
        status = _run(command, sources, unreadable)
    return command.coverage.report(print) or status


def _run(command: Command, sources: list[Source], unreadable: int) -> int:
    runner = Runner(command.options)
    finished: list[Finished] = []
    total = len(sources) * command.options.iterations
    progress = Progress(runner, total, command.verbosity, command.progress, command.compat, command.annotate)
    if command.shuffle:
        seed = command.options.seed if command.options.seed is not None else random.randrange(1 << 31)
        random.Random(seed).shuffle(sources)
        print(f"#    shuffled (--seed {seed})")
    interrupted = False
    try:
        with interruptible():
            for done in runner.run(sources):
                finished.append(done)
                progress.report(done)
                if _bad(done) and not command.options.keep_going:
                    break
    except Interrupted as signal:
        interrupted = True
        progress.clear()
        print(f"#    interrupted ({signal})", file=sys.stderr)
    progress.clear()
    if command.options.keep_going or len(sources) > 1:
        progress.summary(finished, unreadable if command.compat else 0)
    if command.junit:
        from . import junit

        junit.write(command.junit, finished)
    if command.compat:
        return compatible_status(finished, unreadable, command.options.keep_going)
    return exit_status(finished, unreadable, interrupted)


def _bad(done: Finished) -> bool:
    return done.outcome.verdict in (Verdict.FAILED, Verdict.ERROR)


def compatible_status(finished: list[Finished], unreadable: int, keep_going: bool) -> int:
    """What vtest(1) would exit with: files that are no tests count as skipped."""
    if any(_bad(done) for done in finished):
        return 1 if keep_going else 2
    passed = any(done.outcome.verdict is Verdict.PASSED for done in finished)
    skipped = unreadable or any(done.outcome.verdict is Verdict.SKIPPED for done in finished)
    return 77 if skipped and not passed else 0


def exit_status(finished: list[Finished], unreadable: int, interrupted: bool) -> int:
    verdicts = {done.outcome.verdict for done in finished}
    if interrupted:
        return 130
    if unreadable or Verdict.ERROR in verdicts:
        return Verdict.ERROR.value
    if Verdict.FAILED in verdicts:
        return Verdict.FAILED.value
    if verdicts == {Verdict.SKIPPED}:
        return Verdict.SKIPPED.value
    return 0
