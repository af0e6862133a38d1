"""Values that outlive their trace: looked for where the option ``check_tracer_leaks`` is set."""

import gc
import sys
import time
from collections.abc import Sequence

from functrax.core.trace import Trace, Tracer, leaked


def check_leaks(held: Sequence[Trace]) -> None:
    """Raise if tracers of an ended trace are still reachable from outside of it.

    Args:
        held: The trace, in a list that alone holds it if nothing leaked.

    Raises:
        LeakedTracerError: naming the first one found and where it was made.
    """
    alone = [object()]
    if sys.getrefcount(held[0]) == sys.getrefcount(alone[0]):
        return  # no tracer exists any more: a search through all objects would find none
    found = _reachable(held[0])
    for pause in (0.01, 0.03, 0.1):  # while another thread collects garbage, this one cannot
        if not found:
            return
        found.clear()
        time.sleep(pause)
        found = _reachable(held[0])
    if found:
        raise leaked(found[0], "or kept")


def _reachable(trace: Trace) -> list[Tracer]:
    # Not `gc.get_objects`: holding what other threads are just making breaks them.
    gc.collect()
    return [x for x in gc.get_referrers(trace) if isinstance(x, Tracer)]
