"""What was lost, by the numbers that exporters count with.

The unit is theirs: NetFlow v5 counts records, v9 datagrams (RFC 3954, 5.1), IPFIX data records of the domain (RFC 7011, 3.1), sFlow
datagrams of an agent and samples of a source. A number beyond the next one is a loss, until what was missed comes late; one below is late,
a repetition, or a restart. So is one beyond that comes from another port than before: numbers go on within a transport session (RFC 7011,
2 and 3.1), and an exporter that opens its socket anew may count anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_SPAN = 1 << 32
_HALF = 1 << 31
#: Gaps that are remembered, in case that they are filled.
_GAPS = 64
#: Left out by the collector, where nobody knows how many units that were: whatever is missing.
ANY = 1 << 32
#: More is no loss: nothing loses so many between two datagrams that arrive.
_IMPOSSIBLE = 1 << 24
#: An uptime and a clock that disagree by more about the time between two datagrams: the exporter has restarted.
_UPTIME_MS = 10_000
#: Who sends from more ports than that takes another one whenever it likes.
_PORTS = 8
#: So many numbers in a row that go on from one below: the exporter has restarted within the second.
_RUN = 3
#: What a datagram's number is that of: its first record, as it ought to be; its last; itself; or not known yet.
_EITHER, _FIRST, _LAST, _ITSELF = 0, 1, 2, 3


def signed(difference: int) -> int:
    """A difference of 32-bit counters as the one of the two that is nearer to zero."""
    return (difference + _HALF) % _SPAN - _HALF


@dataclass
class Sequence:
    """One count of an exporter, followed.

    Attributes
    ----------
    expected
        The next number; -1: none was seen.
    lost, late, repeated, restarts
        Units that did not come (those that came late are taken off), datagrams that came late, that came again, and restarts: what was
        lost at these, nobody knows.
    unsure
        Units missing while data wait for their template: lost, or among those.
    spared
        Units missing since the collector itself left datagrams out: those that it kept stand for them.
    """

    expected: int = -1
    lost: int = 0
    late: int = 0
    repeated: int = 0
    restarts: int = 0
    unsure: int = 0
    newest: int = -1  # number of the datagram that moved ``expected``
    clock_ms: int = 0
    uptime_ms: int = -1
    gaps: list[list[int]] = field(default_factory=list)  # first missing number, how many
    back: int = -1  # the number that would go on from one below
    run: int = 0
    style: int = 0  # what the number counts: some exporters do not count as they ought to
    doubt: int = 0  # of the lost: missing, unless a later number shows that it is that of the last
    units: int = 0  # of the newest datagram
    optional: int = 0  # of these: some exporters do not count them
    spared: int = 0
    ports: list[int] = field(default_factory=list)  # of the sender, as far as they are known

    def take(
        self,
        first: int,
        units: int,
        clock_ms: int,
        uptime_ms: int = -1,
        *,
        port: int = 0,
        waiting: bool = False,
        optional: int = 0,
        left_out: int = 0,
    ) -> bool:
        """Note a datagram.

        Parameters
        ----------
        first
            Its number.
        units
            How far it counts.
        clock_ms
            Export time, ms; where there is none, that of receipt.
        uptime_ms
            Uptime of the exporter; -1: not said.
        port
            UDP port that it was sent from; 0: not known.
        waiting
            Data of this exporter wait for their template.
        optional
            Of the units: records of options, which some exporters leave out of their count.
        left_out
            So many units before it at most were left out by the collector.

        Returns
        -------
        bool
            It is the newest one.
        """
        anew = port > 0 and port not in self.ports and self._another(port)
        usual = first == self.expected and units == self.units and self.style <= _FIRST
        ahead = 0 if usual else self._ahead(first, units, optional)
        if not usual and ahead != 0:
            if (anew and ahead > left_out) or self._restarted(first, units, ahead, clock_ms, uptime_ms):
                self._restart()
            elif ahead < 0:
                self._behind(first, units)
                return False
            else:
                self._missing(ahead, waiting, min(left_out, ahead))
        self.expected, self.units, self.optional = (first + units) % _SPAN, units, optional
        self.newest, self.clock_ms, self.uptime_ms = first, max(clock_ms, self.clock_ms), uptime_ms
        self.back, self.run = -1, 0
        return True

    def _another(self, port: int) -> bool:
        """Note a port; whether it tells that the exporter has opened its socket anew."""
        if len(self.ports) >= _PORTS:
            return False
        self.ports.append(port)
        return len(self.ports) > 1

    def _ahead(self, first: int, units: int, optional: int) -> int:
        """How far a number is from the expected one."""
        if self.expected < 0:
            return 0
        ahead = signed(first - self.expected)
        if self.style <= _FIRST and -self.optional <= ahead < 0:
            return 0
        if self.style == _EITHER and self._learn_style(signed(first - self.newest), units, ahead, optional):
            return 0
        if self.style == _LAST:
            ahead = signed(first - units - self.newest)
            return 0 if -optional <= ahead < 0 else ahead
        if self.style == _ITSELF:
            return signed(first - 1 - self.newest)
        return ahead

    def _learn_style(self, moved: int, units: int, ahead: int, optional: int) -> bool:
        """Find out what the number counts, from how far it has ``moved`` since the newest datagram; whether it is the next one."""
        doubt = self.doubt
        own = moved in (units, units - optional)  # it has moved by the records of this datagram
        if ahead == 0:
            if units != self.units:
                self.style, self.doubt = _FIRST, 0
        elif 0 < moved < self.units:  # among the records of the newest datagram, where none begins
            if moved == 1 or own:
                self.style = _EITHER if units == 1 else _ITSELF if moved == 1 else _LAST
                self.lost, self.doubt = max(self.lost - doubt, 0), 0
                return True
        elif own and moved > 0:
            if doubt:  # twice in a row
                self.style, self.lost, self.doubt = _LAST, max(self.lost - doubt, 0), 0
                self.gaps.clear()
                return True
            self.doubt = max(ahead, 0)
        return False

    def _restarted(self, first: int, units: int, ahead: int, clock_ms: int, uptime_ms: int) -> bool:
        if abs(ahead) > _IMPOSSIBLE:
            return True
        passed = moved = clock_ms - self.clock_ms
        if uptime_ms >= 0 and self.uptime_ms >= 0:
            moved = signed(uptime_ms - self.uptime_ms)
            if passed >= 0 and abs(signed(moved - passed)) > _UPTIME_MS:
                return True
        if ahead > 0 or self._gap(first) is not None:
            return False
        if moved > 0:  # what is late was exported before what came in its place
            return True
        self.run = self.run + 1 if first == self.back else 1
        self.back = (first + units) % _SPAN
        return self.run >= _RUN

    def _restart(self) -> None:
        self.restarts += 1
        self.gaps.clear()
        self.style, self.doubt = _EITHER, 0
        self.clock_ms = 0
        self.settle()

    def _missing(self, units: int, waiting: bool, left_out: int) -> None:
        if self.doubt == units and (waiting or left_out):
            self.doubt = 0  # it is not noted as lost
        self.spared += left_out
        units -= left_out
        if not units:
            return
        if waiting:
            self.unsure += units
        else:
            self.lost += units
        self.gaps.append([self.expected, units])
        del self.gaps[:-_GAPS]

    def _gap(self, first: int) -> int | None:
        return next((i for i, (start, n) in enumerate(self.gaps) if (first - start) % _SPAN < n), None)

    def _behind(self, first: int, units: int) -> None:
        i = self._gap(first)
        if i is None:
            self.repeated += 1
            return
        start, n = self.gaps.pop(i)
        before = (first - start) % _SPAN
        found = min(units, n - before)
        rest = [[start, before], [(first + found) % _SPAN, n - before - found]]
        self.gaps[i:i] = [gap for gap in rest if gap[1]]
        self.late += 1
        self.doubt = 0  # there was something missing
        unsure = min(found, self.unsure)
        self.unsure -= unsure
        self.lost = max(self.lost - (found - unsure), 0)

    def found(self, first: int, units: int) -> None:
        """Note that records of an earlier datagram, of number ``first``, are known now: they had waited for their template."""
        if first == self.newest:
            self.expected = (self.expected + units) % _SPAN
        else:
            self.unsure = max(self.unsure - units, 0)

    def settle(self) -> None:
        """Nothing waits any more: what is missing is lost."""
        self.lost += self.unsure
        self.unsure = 0
