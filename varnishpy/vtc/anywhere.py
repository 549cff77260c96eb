"""Commands that may be given wherever commands are: ``barrier``, ``delay``, ``shell``, ``err_shell``, ``include``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import compare, numbers
from .barrier import BARRIER
from .context import Test
from .errors import ScriptError, TestAborted
from .interpreter import Interpreter
from .log import Voice
from .table import Call, Command, Item, Opt, table
from .text import Source, Text

MAX_OUTPUT = 16 << 20


def _delay(_target: object, call: Call) -> None:
    seconds = numbers.number(call.plain[0])
    call.voice.say(3, f"delaying {seconds:g} second(s)")
    call.test.sleep(seconds)


def run_shell(test: Test, script: str) -> tuple[int, bytes]:
    """Run a command with sh, errors and output together; its wait status as of ``Popen.returncode``, and the output.

    Raises TestAborted (the command's processes are killed) when the test fails meanwhile.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            test.poll(process.stdout.fileno(), select.POLLIN, None)
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            if size < MAX_OUTPUT:
                parts.append(data)
                size += len(data)
        process.wait()
    except TestAborted:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        process.stdout.close()
    return process.returncode, b"".join(parts)


def _check_shell(
    test: Test, voice: Voice, script: str, wanted: int | None, expect: str | None, match: str | None
) -> None:
    script = f"{'set -e ;' if test.language.careful else ''}exec 2>&1 ; {script}"
    voice.dump(4, "shell_cmd", script)
    code, output = run_shell(test, script)
    status = max(code, 0)
    voice.dump(4, "shell_out", output)
    voice.say(4, f"shell_status = 0x{status:04x}")
    if code < 0:
        voice.say(4, f"shell_signal = {-code}")
    if wanted is None and code == 0:
        voice.fatal("shell did not fail as expected")
    if wanted is not None and status != wanted:
        voice.fatal(f"shell_exit not as expected: got 0x{status:04x} wanted 0x{wanted:04x}")
    if expect is not None:
        if expect.encode("latin-1") not in output:
            voice.fatal(f'shell_expect not found: ("{expect}")')
        voice.say(4, "shell_expect found")
    elif match is not None:
        if not compare.matches(match, output):
            voice.fatal(f'shell_match failed: ("{match}")')
        voice.say(4, "shell_match succeeded")


def _check_options(items: Sequence[Item]) -> None:
    given = [item for item in items if item.option in ("-expect", "-match")]
    if len({item.option for item in given}) > 1:
        raise ScriptError("Cannot use -expect with -match", given[-1].at)


def _shell(_target: object, call: Call) -> None:
    expect, match = call.find("-expect"), call.find("-match")
    wanted: int | None = 0
    for item in call.items:  # the last of -err and -exit counts; a negative status stands for any but 0
        if item.option == "-err":
            wanted = None
        elif item.option == "-exit":
            status = numbers.integer(item.args[0])
            wanted = status if status >= 0 else None
    script, *ignored = call.plain
    if ignored:
        call.voice.say(1, f"shell: ignored: {' '.join(ignored)}")
    _check_shell(
        call.test,
        call.voice,
        script,
        wanted,
        expect[0] if expect else None,
        match[0] if match else None,
    )


def _err_shell(_target: object, call: Call) -> None:
    expect, script = call.plain
    _check_shell(call.test, call.voice, script, None, expect, None)


def _include(target: object, call: Call) -> None:
    for name in call.plain:
        try:
            script = Path(name).read_bytes().decode("latin-1")
        except OSError as error:
            raise ScriptError(f"include: Unable to read file '{name}' ({error.strerror})", name.locate()) from None
        call.voice.say(2, f"Begin include '{name}'")
        here: Interpreter = call.interpreter
        here.run(Text.whole(Source(str(name), script)))
        call.voice.say(2, f"End include '{name}'")


EVERYWHERE = table(
    BARRIER,
    Command("delay", _delay, "SECONDS", text="wait {0} s", mixed=False),
    Command(
        "shell",
        _shell,
        "COMMAND [IGNORED...]",  # vtest has never minded words after the command
        {
            "-err": Opt("", "which must fail"),
            "-exit": Opt("STATUS", "which must exit with {0}"),
            "-expect": Opt("STRING", 'and print "{0}"'),
            "-match": Opt("REGEX", 'and print what matches "{0}"'),
        },
        "run: {0}",
        mixed=False,
        check=_check_options,
    ),
    Command("err_shell", _err_shell, "STRING COMMAND", text='run, expecting failure and "{0}": {1}', mixed=False),
    Command("include", _include, "FILE [FILE...]", text="run the script in {0}", mixed=False),
)
