"""``--watch``: run again whenever a script, or a file beside it, has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_PAUSE: Final = 0.3  # seconds between looks
_SUFFIXES: Final = (".vtc", ".vcl", ".py", ".csv", ".json")
_MOST: Final = 20_000  # files looked at

State = dict[str, tuple[int, int]]


def state_of(words: Sequence[str]) -> State:
    """Time of change and size of every file that a run may depend on: below, or beside, what is named."""
    state: State = {}
    folders = {str(path if path.is_dir() else path.parent) for path in map(Path, words)}
    for folder in sorted(folders):
        for root, directories, names in os.walk(folder or "."):
            directories[:] = [name for name in directories if not name.startswith(".")]
            for name in names:
                if name.endswith(_SUFFIXES) and len(state) < _MOST:
                    path = os.path.join(root, name)
                    try:
                        found = os.stat(path)
                    except FileNotFoundError:
                        continue
                    state[path] = (found.st_mtime_ns, found.st_size)
    return state


def watch(words: Sequence[str], run: Callable[[], int], say: Callable[[str], None]) -> int:
    """Run, and again after each change, until interrupted; the status of the last run."""
    status = run()
    before = state_of(words)
    say("#    watching for changes; ctrl-C ends it")
    try:
        while True:
            time.sleep(_PAUSE)
            now = state_of(words)
            if now != before:
                changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
                say(f"#    {changed[0]}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} changed")
                before = now
                status = run()
                say("#    watching for changes; ctrl-C ends it")
    except KeyboardInterrupt:
        return status
