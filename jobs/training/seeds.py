"""Seeds of the generator, as commands take them."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import ConfigError

#: Of one range: more is a slip of the hand, and would fill the memory.
_MOST = 100_000


def parse_seeds(text: str) -> list[int]:
    """``1,2,3`` or ``1-16``, or both, as numbers.

    Raises
    ------
    ConfigError
        Not a list of numbers, or a range of none or of too many.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            some = range(int(first), int(last) + 1) if dash else range(int(first), int(first) + 1)
            if not 0 < len(some) <= _MOST:
                raise ConfigError(f"--seeds {text!r}: {part.strip()} is {len(some):,} seeds", f"one at least, {_MOST:,} at most")
            seeds.extend(some)
    except ValueError as e:
        raise ConfigError(f"--seeds {text!r}: not a list of whole numbers", "for example 1,2,3 or 1-16") from e
    return seeds


def check(seeds: Sequence[int], spelled: str) -> None:
    """See that generated traffic of these seeds can be trained on; ``spelled`` is how a message calls them.

    Raises
    ------
    ConfigError
        Fewer than three, or one of them twice.
    """
    if len(set(seeds)) != len(seeds) or len(seeds) < 3:
        raise ConfigError(f"seeds {spelled or 'none'}: three distinct ones are needed", "one to train, one for the threshold, one held out")
