"""Seeds of the generator, as commands take them."""

from __future__ import annotations

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
