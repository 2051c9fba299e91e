"""Find the JDK that runs Kafka and Spark, and say plainly when it is missing or too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.errors import StackError, one_line

#: Spark 4 and Kafka 4 are built for Java 17.
MINIMUM = 17
HINT = "install a JDK 17 or newer (Debian/Ubuntu: apt-get install openjdk-17-jre-headless) or point JAVA_HOME to one"

#: Environment of every JVM that we start: it reads and writes file names in the encoding of its locale, and in the C locale, which
#: cron and most containers have, that is ASCII. (The properties file.encoding and sun.jnu.encoding do not change all of it.)
LOCALE = {"LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Java:
    """A Java launcher: its path, and its version as printed and as a feature number."""

    path: Path
    version: str
    feature: int


def find() -> Java:
    """The ``java`` that will be used: ``JAVA_HOME/bin/java`` when JAVA_HOME is set, else the one on PATH.

    Raises
    ------
    StackError
        None found, it does not run, or it is older than 17; names its path and version.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        path = Path(home) / "bin" / "java"
        if not os.access(path, os.X_OK):
            raise StackError(f"JAVA_HOME={home}: there is no bin/java in it", HINT)
    else:
        found = shutil.which("java")
        if found is None:
            raise StackError("no JDK: there is no java on PATH and JAVA_HOME is not set", HINT)
        path = Path(found)
    try:
        out = subprocess.run([str(path), "-version"], capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise StackError(f"{path} does not run: {e}", HINT) from e
    text = out.stderr + out.stdout
    match = re.search(r'version "([^"]+)"', text)
    if match is None:
        first = one_line(text.strip().splitlines()[0]) if text.strip() else f"exit code {out.returncode}"
        raise StackError(f"{path} -version says nothing of a version: {first}", HINT)
    version = match.group(1)
    feature = _feature(version)
    if feature < MINIMUM:
        raise StackError(f"{path} is Java {version}; Spark and Kafka need {MINIMUM} or newer", HINT)
    return Java(path, version, feature)


def _feature(version: str) -> int:
    """``1.8.0_402`` -> 8, ``17.0.15`` -> 17, ``25-ea`` -> 25."""
    numbers = [int(n) for n in re.findall(r"\d+", version)]
    if len(numbers) > 1 and numbers[0] == 1:
        return numbers[1]
    return numbers[0] if numbers else 0
