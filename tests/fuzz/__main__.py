"""Fuzz for as long as one likes: ``python -m tests.fuzz --seconds 600``."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "var" / "fuzz"
#: Seconds between two lines of progress.
_EVERY = 5.0
#: Seconds after which one input, with the compiling of kernels and the shrinking of a find, is taken for one that hangs.
_HANGS = 300.0

EXAMPLE = """\
example:
  python -m tests.fuzz --seconds 600               ten minutes, from a new seed
  python -m tests.fuzz --seconds 60 --seed 1234    the same inputs again
  python -m tests.fuzz --checked                   out-of-bounds access in compiled kernels raises

FLOWLAKE_DATA names a folder whose pcaps/ joins the corpus. What fails is made small and kept in var/fuzz/."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Damaged frames, capture files and flow exports through the product, and past the oracle. Exit status 1: found some.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--seed", type=int, default=None, help="where to begin; a new one by default, and printed")
    parser.add_argument("--checked", action="store_true", help="compile the kernels with bounds checks, which takes a while the first time")
    return parser.parse_args()


def _keep(name: str, content: bytes, how: str, said: list[str]) -> None:
    path = FOUND / name
    path.write_bytes(content)
    path.with_suffix(".txt").write_text("\n".join([*said, "", how, ""]), encoding="utf-8")
    print(
        f"\nFOUND {path}", *(f"  {line}" for line in said[:10]), "to make it a test, add to tests/fuzz/test_regressions.py:", how, sep="\n"
    )


class _Fuzzer:
    """One input of one of four kinds at a time; what fails is kept."""

    def __init__(self, seed: int) -> None:
        from tests.fuzz import check, corpus, exports, mutate, shrink

        self.check, self.mutate, self.shrink = check, mutate, shrink
        self.flow_exports, self.datagrams = exports, exports.seeds()
        self.seed, self.corpus = seed, corpus.seeds()
        self.done = {"frames": 0, "sequences": 0, "files": 0, "exports": 0}
        self.found = 0

    def frames(self, r: random.Random, name: str) -> None:
        made = [self.mutate.frame(r, self.corpus) for _ in range(1000)]
        self.done["frames"] += len(made)
        faults = self.check.frame_faults(made)
        for i, _ in faults[:1]:  # one of a batch: the others are most often the same
            small = self.shrink.frame(made[i], lambda f: bool(self.check.frame_faults([f])))
            said = [text for _, text in self.check.frame_faults([small])]
            how = f'    ("{name}", {small.link_type}, {small.wire}, "{small.data.hex()}"),'
            self._found(f"{name}.bin", small.data, how, said)

    def sequences(self, r: random.Random, name: str) -> None:
        made = self.mutate.sequence(r, self.corpus)
        self.done["sequences"] += 1
        if not self.check.record_faults(made):
            return
        from tests.oracle.capture import write_pcapng

        small = self.shrink.frames(made, lambda fs: bool(self.check.record_faults(fs)))
        said = self.check.record_faults(small)
        path = write_pcapng(FOUND / f"{name}.pcapng", small)
        how = "\n".join(["    frames = [", *(f"        {f!r}," for f in small), "    ]", "    assert record_faults(frames) == []"])
        self._found(path.name, path.read_bytes(), how, said)

    def files(self, r: random.Random, name: str) -> None:
        made = self.mutate.capture(r, self.corpus)
        self.done["files"] += 1
        if self.check.file_faults(made):
            small = self.shrink.data(made, lambda b: bool(self.check.file_faults(b)))
            how = f'    ("{name}", "{small.hex()}"),'
            self._found(f"{name}.bin", small, how, self.check.file_faults(small))

    def exports(self, r: random.Random, name: str) -> None:
        made = self.flow_exports.sequence(r, self.datagrams)
        self.done["exports"] += 1
        if self.flow_exports.faults(made):
            small = self.shrink.frames(made, lambda ds: bool(self.flow_exports.faults(ds)))
            lines = ["    datagrams = [", *(f"        bytes.fromhex({d.hex()!r})," for d in small), "    ]"]
            how = "\n".join([*lines, "    assert exports.faults(datagrams) == []"])
            self._found(f"{name}.bin", b"".join(small), how, self.flow_exports.faults(small))

    def _found(self, name: str, content: bytes, how: str, said: list[str]) -> None:
        self.found += 1
        _keep(name, content, how, said)

    def run(self, seconds: float) -> None:
        FOUND.mkdir(parents=True, exist_ok=True)
        started = shown = time.monotonic()
        kinds: list[Callable[[random.Random, str], None]] = [
            self.frames,
            self.sequences,
            self.sequences,
            self.files,
            self.files,
            self.exports,
        ]
        i = 0
        while time.monotonic() - started < seconds and self.found < 20:
            kind = kinds[i % len(kinds)]
            faulthandler.dump_traceback_later(_HANGS, exit=True)  # which input hung, the file says
            (FOUND / "running.txt").write_text(f"--seed {self.seed}, input {i}, {kind.__name__}\n", encoding="utf-8")
            kind(random.Random(f"{self.seed} {i}"), f"{kind.__name__}-{self.seed}-{i}")
            i += 1
            if time.monotonic() - shown > _EVERY:
                shown = time.monotonic()
                print(f"{shown - started:6.0f} s  {self._counts()}  {self.found} found", flush=True)
        faulthandler.cancel_dump_traceback_later()
        (FOUND / "running.txt").unlink(missing_ok=True)
        print(f"seed {self.seed}: {self._counts()}, {self.found} found")

    def _counts(self) -> str:
        return ", ".join(f"{n:,} {name}" for name, n in self.done.items())


def main() -> int:
    args = _arguments()
    if args.checked:  # read when the kernels are imported, and their own cache: the checks are part of the code
        os.environ["NUMBA_BOUNDSCHECK"] = "1"
        os.environ["NUMBA_CACHE_DIR"] = str(FOUND / "checked")
    logging.disable(logging.WARNING)  # each damaged file is warned about
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    fuzzer = _Fuzzer(seed)
    fuzzer.run(args.seconds)
    return 1 if fuzzer.found else 0


if __name__ == "__main__":
    sys.exit(main())
