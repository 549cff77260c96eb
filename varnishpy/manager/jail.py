"""Jails: which rights the child gives up (``-j``).

``none`` keeps what the manager has. ``unix[,user=name][,ccgroup=name]`` needs root and makes the child run as that user
(default: ``vcache``, ``varnish`` or ``nobody``, the first that exists) with the group ``ccgroup`` added.

Who starts it as root and says nothing gets ``unix`` (`choose`), if that user can read and write what the child will
need (`manager/reach.py` knows what that is). If it cannot, the child keeps root, and one remark says for what.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from varnishpy.manager.complain import StartupError
from varnishpy.manager.reach import Need, first_out_of_reach

_DEFAULT_USERS: Final = ("vcache", "varnish", "nobody")
_PR_SET_DUMPABLE: Final = 4  # sys/prctl.h


@dataclass(frozen=True, slots=True)
class Jail:
    """A parsed ``-j`` argument."""

    name: str
    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] = ()
    user: str = ""

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
        # the kernel closes /proc/self to who has changed its user, and leaves no core of it; both are of use
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)

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


def choose(needs: Sequence[Need]) -> tuple[Jail, str]:
    """The jail of who has not said which, and what to tell the operator of it.

    :param needs: what the child must be able to do
    """
    if os.geteuid() != 0:
        return Jail("none"), ""
    user = _default_user()
    if user is None:
        return Jail("none"), _stays("there is no user " + ", ".join(_DEFAULT_USERS))
    jail = Jail("unix", user.pw_uid, user.pw_gid, (user.pw_gid,), user.pw_name)
    obstacle = first_out_of_reach(jail.enter, needs)
    if obstacle:
        return Jail("none"), _stays(f"{user.pw_name} {obstacle}")
    return jail, ""


def _stays(reason: str) -> str:
    return f"The cache process runs as root: {reason}. Mend that, or choose: -j unix,user=NAME, or -j none."


def _default_user() -> pwd.struct_passwd | None:
    for candidate in _DEFAULT_USERS:
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
    return Jail(kind, user.pw_uid, user.pw_gid, (user.pw_gid, *groups), user.pw_name)
