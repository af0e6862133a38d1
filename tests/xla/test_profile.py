import numpy as np
import pytest

from functrax.errors import ConfigError
from functrax.xla import buffers, isolation, profile  # noqa: F401


def events(data):
    return {
        event.name
        for plane in profile.planes(data)
        for line in plane.lines
        for event in line.events
    }


def test_a_session_records_names(double, put, tmp_path):
    with profile.Session() as session, profile.Annotation("a step", step_num=3):
        buffers.block_until_ready(double([put(np.ones(4, np.float32))]))
    assert "a step" in events(session.data)
    session.export(str(tmp_path))
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_one_session_at_a_time():
    with profile.Session(), pytest.raises(ConfigError):
        profile.Session()
    profile.Session().stop()  # the refused one left nothing behind


def test_stop_twice_is_stop_once():
    session = profile.Session()
    assert session.stop() is session.stop()


def test_a_heap_profile_counts_buffers(cpu, put):
    keep = put(np.ones(4321, np.int8))
    assert '"4321"' in profile.pprof_to_json(cpu.heap_profile())
    buffers.delete(keep)
