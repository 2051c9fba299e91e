"""How the sensor of flow exporters does: what was lost lately, and whether the broker answers."""

from __future__ import annotations

#: Seconds for which a loss is told.
_RECENT_S = 60.0
#: Heartbeats without an acknowledgement after which the broker counts as away, and seconds at least.
_MISSED_HEARTBEATS, _PATIENCE_S = 5, 5.0


class LossWatch:
    """Whether datagrams were lost, or thinned, in the last minute. Looks at counters that only grow; times are those of one clock, s.

    Attributes
    ----------
    counts
        Datagrams lost and thinned, as of the last look.
    """

    def __init__(self) -> None:
        self.counts = (0, 0)
        self._last: tuple[float | None, float | None] = (None, None)

    def look(self, lost: int, thinned: int, now_s: float) -> None:
        """Take note of counts (datagrams) at a time."""
        counts = (lost, thinned)
        grown = zip(counts, self.counts, self._last, strict=True)
        lost_at, thinned_at = (now_s if count > before else last for count, before, last in grown)
        self._last, self.counts = (lost_at, thinned_at), counts

    def told(self, now_s: float) -> str:
        """``lost``, ``thinned`` or ``ok``."""
        recent = [last is not None and now_s - last < _RECENT_S for last in self._last]
        return "lost" if recent[0] else "thinned" if recent[1] else "ok"


class BrokerWatch:
    """Whether the broker acknowledges, which it has reason to do at every heartbeat.

    Parameters
    ----------
    heartbeat_s
        Seconds between two.
    """

    def __init__(self, heartbeat_s: float) -> None:
        self._patience = max(_PATIENCE_S, _MISSED_HEARTBEATS * heartbeat_s)
        self._connected = False
        self._acknowledged = 0
        self._since_s = 0.0

    def look(self, connected: bool, acknowledged: int, now_s: float) -> None:
        """Take note of whether there was a connection ever, and of how many messages were acknowledged up to a time."""
        if acknowledged > self._acknowledged or connected > self._connected:
            self._since_s = now_s
        self._connected, self._acknowledged = connected, acknowledged

    def told(self, now_s: float) -> str:
        """``ok`` or ``unreachable``."""
        return "ok" if self._connected and now_s - self._since_s < self._patience else "unreachable"
