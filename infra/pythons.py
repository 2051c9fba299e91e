"""Which Pythons and processors the project runs on, and how well that is known.

``bootstrap`` reads this before it has an environment: standard library only, and words that Python 3.6 understands.
"""

import platform
import sys
import sysconfig

#: Minor versions of CPython that ``requirements.lock`` is for, the one with the most tests first; ``requires-python`` says the same.
SUPPORTED = ((3, 11), (3, 12), (3, 13))
#: The tests that passed on each, on x86-64 Linux. docs/reference/platforms.md has the same words.
RUN = {
    (3, 11): "every test",
    (3, 12): "most unit and Spark tests",
    (3, 13): "most unit and Spark tests",
}
#: Processors (``platform.machine()``) that the lock file is for, and those of them on which something was run.
MACHINES = ("x86_64", "aarch64")
RUN_MACHINES = ("x86_64",)


def names() -> str:
    """The supported versions in words: ``3.11, 3.12 or 3.13``."""
    versions = [f"{major}.{minor}" for major, minor in SUPPORTED]
    return ", ".join(versions[:-1]) + " or " + versions[-1]


def refusal(version: "tuple[int, int]", implementation: str = "cpython", free_threaded: bool = False) -> str:
    """Why an interpreter cannot be used, to stand behind its path; empty when it can.

    Parameters
    ----------
    version
        Major and minor number.
    implementation
        Its ``sys.implementation.name``.
    free_threaded
        Whether it was built without the global interpreter lock.
    """
    if version not in SUPPORTED:
        return f"is {version[0]}.{version[1]}"
    if implementation != "cpython":
        return f"is {implementation}, for which several packages are not compiled"
    if free_threaded:
        return "is the build without the interpreter lock, for which several packages are not compiled"
    return ""


def this() -> str:
    """``refusal`` of the interpreter that runs."""
    return refusal(sys.version_info[:2], sys.implementation.name, bool(sysconfig.get_config_var("Py_GIL_DISABLED")))


def tried() -> bool:
    """Whether anything was run on such a processor."""
    return platform.machine() in RUN_MACHINES


def run() -> str:
    """What was run on a Python and a processor like these, in words."""
    machine = platform.machine()
    if machine not in MACHINES:
        return f"nothing is known of {machine}: the packages of requirements.lock were looked for on {' and '.join(MACHINES)}"
    if not tried():
        return f"every package exists for {machine}, but no test was run on it"
    return f"run on this version: {RUN[sys.version_info[:2]]}"
