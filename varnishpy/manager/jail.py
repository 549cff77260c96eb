"""Jails: which rights the child gives up (``-j``).

``none`` keeps what the manager has. ``unix[,user=name][,ccgroup=name]`` needs root and makes the child run as that user
(default: ``vcache``, ``varnish`` or ``nobody``, the first that exists) with the group ``ccgroup`` added.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from varnishpy.manager.complain import StartupError


@dataclass(frozen=True, slots=True)
class Jail:
    """A parsed ``-j`` argument."""

    name: str
    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] = ()

    @property
    def gives_up_rights(self) -> bool:
        """Does the child run as somebody else than the manager?"""
        return self.uid >= 0

    def enter(self) -> None:
        """Give up rights, in the child, for good."""
        if not self.gives_up_rights:
            return
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)

    def give(self, path: Path) -> None:
        """Let the child own a file or directory."""
        if self.gives_up_rights:
            os.chown(path, self.uid, self.gid)


def parse(argument: str | None) -> Jail:
    """Parse ``-j``.

    :raises StartupError: naming the part that is wrong
    """
    words = (argument or "none").split(",")
    kind = words[0]
    if kind == "none":
        if len(words) > 1:
            raise StartupError("-jnone takes no arguments.", usage=True)
        return Jail("none")
    if kind in ("unix", "linux"):
        return _unix(words[1:], kind)
    if kind == "":
        raise StartupError("-j argument is empty", usage=True)
    raise StartupError(f'Unknown jail method "{kind}"', usage=True)


def remark(argument: str | None) -> str:
    """What to tell an operator who has started it as root and said nothing of a jail; nothing to others."""
    if argument is not None or os.geteuid() != 0:
        return ""
    user = _default_user()
    how = "-j unix" if user is not None else "-j unix,user=NAME"
    name = "somebody else" if user is None else user.pw_name
    return f"The cache process runs as root. {how} has it run as {name}; -j none says that it shall be so."


def _default_user() -> pwd.struct_passwd | None:
    for candidate in ("vcache", "varnish", "nobody"):
        try:
            return pwd.getpwnam(candidate)
        except KeyError:
            continue
    return None


def _unix(options: list[str], kind: str) -> Jail:
    if os.geteuid() != 0:
        raise StartupError("Unix Jail: Must be root.")
    user: pwd.struct_passwd | None = None
    groups: list[int] = []
    for option in options:
        name, _, value = option.partition("=")
        if name in ("user", "workuser"):
            try:
                user = pwd.getpwnam(value)
            except KeyError:
                raise StartupError(f"Unix jail: {value} user not found.") from None
        elif name == "ccgroup":
            try:
                groups.append(grp.getgrnam(value).gr_gid)
            except KeyError:
                raise StartupError(f"Unix jail: {value} group not found.") from None
        else:
            raise StartupError(f"Unix jail: unknown sub-argument '{option}'", usage=True)
    if user is None:
        user = _default_user()
    if user is None:
        raise StartupError("Unix jail: no user to run as; give one with -j unix,user=NAME", usage=True)
    return Jail(kind, user.pw_uid, user.pw_gid, (user.pw_gid, *groups))
