"""Names that exporters gave to interfaces, VRFs and applications, beside the numbers in their records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.rating import by_options
from jobs.flowexport.sampling import looked_up

_INTERFACES = (("input", "input_name"), ("output", "output_name"))
_VRFS = (("vrf_in", "vrf_in_name"), ("vrf_out", "vrf_out_name"))


class _Texts:
    """Texts by number, each once; 0 is the empty one."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._numbers = {name: i for i, name in enumerate(names)}

    def number(self, text: str) -> int:
        found = self._numbers.setdefault(text, len(self.names))
        if found == len(self.names):
            self.names.append(text)
        return found


def give_names(
    options: Sequence[OptionData], numbers: NDArray[np.int32], applications: Sequence[tuple[int, Sequence[bytes]]], out: FlowColumns
) -> None:
    """Fill in the columns of names.

    Parameters
    ----------
    options
        What exporters said of themselves.
    numbers
        Which of them holds of each record.
    applications
        Application ids of some runs of records: where the run begins, and the ids.
    out
        Records.
    """
    texts = _Texts(out.names)
    for known, index in by_options(options, numbers):
        for table, columns in ((known.interfaces, _INTERFACES), (known.vrfs, _VRFS)):
            for given, name in columns if table else ():
                found = np.unique(out[given][index])
                used = {int(v): texts.number(table[int(v)]) for v in found if int(v) in table}
                out[name][index] = looked_up(used, out[given][index], 0)
    for at, ids in applications:
        names = [options[number].applications.get(i, "") for i, number in zip(ids, numbers[at : at + len(ids)], strict=True)]
        out["application_name"][at : at + len(ids)] = [texts.number(name) for name in names]
