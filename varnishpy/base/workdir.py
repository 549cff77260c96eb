"""Where an instance lives: the ``-n`` argument of the daemon and of every tool.

An absolute path is taken as it is, and one that begins with ``./`` or ``../`` from the current directory. A name, or
nothing, is a directory under the state directory: root's is
``/var/lib/varnishpy``, a user's ``$XDG_STATE_HOME/varnishpy`` or ``~/.local/state/varnishpy``. Nothing means the host's
name, as in varnishd. A tool that is given a name which only exists below varnishd's own ``/var/lib/varnish`` uses that.
"""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path


def state_directory() -> Path:
    """The directory that holds the working directories of instances known by name."""
    if os.geteuid() == 0:
        return Path("/var/lib/varnishpy")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "varnishpy"


def resolve(argument: str | None) -> Path:
    """The working directory that ``-n argument`` means.

    :raises ValueError: with a message for the user when the name cannot be a directory's
    """
    if argument is None or argument == "":
        argument = os.environ.get("VARNISH_DEFAULT_N") or socket.gethostname()
    if argument.startswith("/"):
        return Path(argument)
    if argument.startswith(("./", "../")):
        return Path(os.path.abspath(argument))
    if argument in (".", "..") or "\0" in argument:
        raise ValueError(f"-n {argument}: a name or an absolute path is needed")
    return state_directory() / argument


def resolve_existing(argument: str | None) -> Path:
    """Like `resolve`, for tools: falls back to varnishd's state directory when only that has the instance."""
    found = resolve(argument)
    named = not (argument or "").startswith(("/", "./", "../"))
    if named and not os.path.exists(found):  # False too where one may not look
        other = Path("/var/lib/varnish") / (argument or socket.gethostname())
        if os.path.exists(other):
            return other
    return found


def owner(path: Path) -> str:
    """Whose the innermost directory of the path is that we may look at."""
    for directory in (path, *path.parents):
        try:
            number = directory.stat().st_uid
        except OSError:
            continue
        try:
            return pwd.getpwuid(number).pw_name
        except KeyError:
            return f"user {number}"
    return "nobody"
