"""Run a program that refuses to be root (PostgreSQL), when this process is root: ``python -m infra.stack.unprivileged PROGRAM ARGS``.

A new user namespace maps an ordinary account to this root: the program believes to be that account, while on disk nothing changes hands, no
account is created and no folder is opened to others. The account must be one of /etc/passwd, since initdb looks its name up.
Where namespaces are forbidden (some containers) and the data already belongs to another account, or may, plain setuid is used.

Source: user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from collections.abc import Sequence

CLONE_NEWUSER = 0x10000000


def command(argv: Sequence[str]) -> list[str]:
    """``argv`` itself for an ordinary user, ``argv`` through this module for root."""
    if os.geteuid() != 0:
        return list(argv)
    # By path and isolated: the program must start whatever the working folder and PYTHONPATH are.
    return [sys.executable, "-I", os.path.abspath(__file__), *argv]


def _enter_namespace() -> None:
    account = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{account.pw_uid} 0 1"), ("gid_map", f"{account.pw_gid} 0 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
            f.write(text)


def main(argv: list[str]) -> None:
    """Become the ordinary account and replace this process by the program (the pid stays)."""
    try:
        _enter_namespace()
    except (OSError, StopIteration) as e:
        sys.exit(
            f"FATAL: PostgreSQL does not run as root, and a user namespace is not allowed here ({e}); run flowlake as an ordinary user"
        )
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
