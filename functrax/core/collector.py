"""Python's garbage collector, kept away from work that it can only slow down."""

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def collector_paused() -> Generator[None]:
    """Keep Python's garbage collector from running in the block.

    Importing, tracing and lowering allocate many objects that all live: looking through them (and
    everything that was imported before) again and again costs up to as much as the work itself.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def importing() -> Generator[None]:
    """Pause the collector for the imports in the block, and count what they made as old.

    Else the first collection after the block would do the work that was saved: an eighth of the
    import's time.
    """
    with collector_paused():
        yield
    if gc.get_freeze_count() == 0:  # objects that the user has frozen would thaw
        gc.freeze()
        gc.unfreeze()  # what was frozen joins the oldest generation
