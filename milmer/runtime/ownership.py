"""Whether a file is ours alone, on a machine that others use too.

What another user can write is that user's: a command line, a Snakefile or a lock found there is
theirs to choose.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

from milmer.errors import MilmerError


def require_ours(path: Path) -> None:
    """Refuse a file or folder that another user owns, root but for, or that others may write.

    A link stands for what it leads to.
    """
    status = os.stat(path)
    if status.st_uid not in (0, os.geteuid()):
        raise MilmerError(
            f"belongs to {_user(status.st_uid)}",
            where=path,
            remedy="use a copy of your own",
        )
    everybody, group = status.st_mode & stat.S_IWOTH, status.st_mode & stat.S_IWGRP
    if everybody or (group and not _private_group(status.st_gid)):
        remedy = f"make sure that it is as you left it, then: chmod go-w '{path}'"
        if status.st_mode & stat.S_ISVTX:  # such as /tmp, which has to stay so
            remedy = "move what lies there to a folder of your own"
        raise MilmerError(
            f"may be written by {'everybody' if everybody else 'its group'}",
            where=path,
            remedy=remedy,
        )


def _private_group(gid: int) -> bool:
    """Whether it is this user's own group, of the user's name and without other members.

    Where each user has one, the umask is often 002. Root's group is not such a one.
    """
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        user.pw_uid != 0
        and (group.gr_name, gid) == (user.pw_name, user.pw_gid)
        and set(group.gr_mem) <= {user.pw_name}
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
