"""Random sampling of packets: of each N of them in a row one is taken (n-out-of-N, RFC 5475, section 5.2.1).

Which one is a hash of the group's number and a seed: the same however the packets are cut into batches, and N times what was taken is
never more than N away from what there was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E37_79B9_7F4A_7C15
_MASK = (1 << 64) - 1


class PacketSampler:
    """Takes one packet of each ``every``.

    Attributes
    ----------
    seen, taken
        Packets so far.
    """

    def __init__(self, every: int, seed: int = 0) -> None:
        if every < 1:
            raise ValueError(f"1 of {every} packets cannot be taken")
        self._every, self._seed = every, seed * _GOLDEN & _MASK
        self.seen = self.taken = 0

    def take(self, n: int) -> NDArray[np.int64]:
        """Which of the next ``n`` packets are taken: their numbers among these, ascending."""
        begin, end = self.seen, self.seen + n
        self.seen = end
        if n == 0 or self._every == 1:
            self.taken += n
            return np.arange(n)
        groups = np.arange(begin // self._every, (end - 1) // self._every + 1, dtype=np.uint64)
        places = (groups * np.uint64(self._every) + self._hash(groups) % np.uint64(self._every)).astype(np.int64)
        chosen = places[(places >= begin) & (places < end)] - begin
        self.taken += len(chosen)
        return chosen

    def _hash(self, groups: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """SplitMix64 (Steele, Lea, Flood 2014) of seed and number."""
        z = groups * np.uint64(_GOLDEN) + np.uint64(self._seed)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
        return np.asarray(z ^ z >> np.uint64(31))
