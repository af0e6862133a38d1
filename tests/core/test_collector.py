"""The garbage collector pauses for the import, whether it works or fails, and for nobody else."""

import contextlib
import gc

import pytest

from functrax.core.collector import collector_paused, importing

# Python 3.12 has frozen some objects of its own before the program starts.
BEFORE = "import gc; frozen = gc.get_freeze_count()"
STATE = "print(gc.isenabled(), gc.get_freeze_count() - frozen)"


def test_an_import_leaves_the_collector_as_it_was(python):
    assert python(f"{BEFORE}; import functrax; {STATE}") == "True 0"
    assert python(f"{BEFORE}; gc.disable(); import functrax; {STATE}") == "False 0"


def test_an_import_keeps_frozen_what_the_user_froze(python):
    counts = "import gc; gc.freeze(); n = gc.get_freeze_count(); import functrax; print(gc.get_freeze_count() - n)"
    assert int(python(counts)) <= 0  # some of it may have gone, and nothing has joined it


def test_an_import_makes_no_young_objects(python):
    # Else the next collection looks through all that was imported.
    assert int(python("import gc, functrax; print(len(gc.get_objects(generation=0)))")) < 2_000


def test_an_import_that_fails_ends_the_pause(python):
    code = f"""
        import sys
        {BEFORE}
        sys.modules["jaxlib"] = None
        try:
            import functrax
        except Exception:
            pass
        {STATE}
    """
    assert python(code) == "True 0"


@pytest.mark.parametrize("pause", [collector_paused, importing])
@pytest.mark.parametrize("collecting", [True, False])
def test_a_pause_ends_with_an_error_too(pause, collecting):
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with contextlib.suppress(KeyError), pause():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
