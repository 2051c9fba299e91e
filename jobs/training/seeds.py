"""Seeds of the generator, as commands take them."""

from __future__ import annotations

from infra.errors import ConfigError


def parse_seeds(text: str) -> list[int]:
    """``1,2,3`` or ``1-16``, or both, as numbers.

    Raises
    ------
    ConfigError
        Not a list of numbers.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds.extend(range(int(first), int(last) + 1) if dash else [int(first)])
    except ValueError as e:
        raise ConfigError(f"--seeds {text!r}: not a list of whole numbers", "for example 1,2,3 or 1-16") from e
    return seeds
