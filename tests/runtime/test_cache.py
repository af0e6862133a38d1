"""The persistent compilation cache: found again, never wrong, never fatal, bounded, shared."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import functrax
from functrax.core.primitive import registry
from functrax.core.trace import as_value, bind
from functrax.errors import CacheWarning, FileError
from functrax.runtime import cache
from functrax.runtime.cache_folder import ENTRY, LEDGER, TEMPORARY, CacheFolder, Entry, default_path

ROOT = Path(__file__).resolve().parents[2]
X = np.arange(6, dtype=np.float32)


def affine(factor: float) -> Callable[[Any], Any]:
    """Return a new jitted function: each call of this helper compiles, or loads, once."""

    def scaled(x: Any) -> Any:
        return bind(registry["add"], *bind(registry["mul"], x, as_value(factor, "test")), x)[0]

    return functrax.jit(scaled)


def run(*factors: float) -> None:
    for factor in factors or (2.0,):
        np.testing.assert_array_equal(np.asarray(affine(factor)(X)), X * np.float32(factor) + X)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own for the test, named by option."""
    path = tmp_path / "cache"
    with functrax.config.scope(compilation_cache_dir=str(path)):
        run_once_to_warm_up()
        yield path
    cache._stores.pop(str(path), None)


def run_once_to_warm_up() -> None:
    """Compile what converting the argument takes, outside the counts of the test."""
    with functrax.config.scope(enable_compilation_cache=False):
        run(1.25)


def entries(path: Path) -> list[Path]:
    return sorted(path.glob("*" + ENTRY))


def temporaries(path: Path) -> list[Path]:
    return sorted(path.glob("*" + TEMPORARY))


def counts() -> tuple[int, int]:
    found = cache.summary()
    return found.hits, found.misses


def test_a_program_is_kept_and_found_again(folder: Path) -> None:
    hits, misses = counts()
    run()
    assert counts() == (hits, misses + 1)
    assert len(entries(folder)) == 1
    run()  # a new function of the same program
    assert counts() == (hits + 1, misses + 1)
    assert len(entries(folder)) == 1
    assert not temporaries(folder)


def test_a_program_in_use_is_not_made_again(folder: Path) -> None:
    first = affine(2.0)
    first(X)
    known = counts()
    run(2.0)  # the same program of another function
    assert counts() == known
    del first
    run(2.0)
    assert counts() == (known[0] + 1, known[1])


def test_names_and_lines_do_not_matter_but_numbers_do(folder: Path) -> None:
    run()
    named = functrax.jit(
        lambda x: bind(registry["add"], *bind(registry["mul"], x, as_value(2.0, "test")), x)[0]
    )
    named(X)
    assert len(entries(folder)) == 1
    run(3.0)
    assert len(entries(folder)) == 2


def test_the_summary_can_be_read(folder: Path) -> None:
    run()
    found = cache.summary()
    assert found.folder == str(folder)
    assert (found.entries, found.state) == (1, "on")
    assert found.size == sum(path.stat().st_size for path in entries(folder))
    text = repr(found)
    assert text.startswith(f"compilation cache on: {folder}, 1 program, ")
    assert " kB of at most 4.29 GB\nthis process: " in text


def test_clear_leaves_other_files(folder: Path) -> None:
    run()
    (folder / "mine.txt").write_text("kept")
    cache.clear()
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    run()
    assert len(entries(folder)) == 1


def test_the_folder_is_private(folder: Path) -> None:
    run()
    assert folder.stat().st_mode & 0o777 == 0o700


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def truncate_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    path.write_bytes(b"GIF89a" + bytes(200))


def age(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] += 1
    path.write_bytes(data)


def pipe(path: Path) -> None:
    """Put a named pipe there: nobody writes to it, and a reader would wait."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, " bytes"),
        (truncate_header, "20 bytes"),
        (flip, "bytes that changed"),
        (empty, "an empty file"),
        (pipe, "an empty file"),
        (replace, "another kind of file"),
        (age, "version 2"),
    ],
)
def test_a_damaged_entry_is_a_warning_and_made_anew(
    folder: Path, damage: Callable[[Path], None], expected: str
) -> None:
    run()
    (entry,) = entries(folder)
    damage(entry)
    with pytest.warns(CacheWarning) as told:
        run()
    (warning,) = told
    assert str(warning.message).startswith(
        f"[compilation cache] expected a whole entry; got '{entry}': "
    )
    assert expected in str(warning.message)
    assert str(warning.message).endswith("It is made anew.")
    # XLA need not write one program with the same bytes twice: the next load tells whether the
    # entry is whole.
    assert entries(folder) == [entry]
    hits, misses = counts()
    run()
    assert counts() == (hits + 1, misses)


def test_an_entry_under_another_name_is_damage(folder: Path) -> None:
    run(2.0)
    (first,) = entries(folder)
    run(3.0)
    (second,) = set(entries(folder)) - {first}
    second.write_bytes(first.read_bytes())
    with pytest.warns(CacheWarning, match="bytes that changed"):
        run(3.0)


def test_bytes_that_xla_refuses_are_damage(folder: Path) -> None:
    run()
    (entry,) = entries(folder)
    key = entry.name.removesuffix(ENTRY)
    CacheFolder(str(folder), named=True).write(key, Entry(b"not a program", 1.0), -1)
    with pytest.warns(CacheWarning, match="expected a whole entry"):
        run()
    run()


def test_errors_instead_of_warnings(folder: Path) -> None:
    run()
    empty(entries(folder)[0])
    with (
        functrax.config.scope(raise_persistent_cache_errors=True),
        pytest.raises(FileError) as raised,
    ):
        run()
    assert "an empty file" in str(raised.value)


# Folders that do not work


def refused(path: str) -> str:
    """Run two programs with a folder that cannot be used, and return the one warning."""
    with functrax.config.scope(compilation_cache_dir=path):
        with pytest.warns(CacheWarning) as told:
            run(2.0, 3.0)
        found = cache.summary()
    cache._stores.pop(path, None)
    (warning,) = told
    assert found.state.startswith(("off (", "only read ("))
    return str(warning.message)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    message = refused(str(path / "below"))
    assert message.startswith("[compilation cache] expected a folder to keep programs in; got ")
    assert message.endswith(". This process goes on without.")
    assert path.read_text() == ""


def test_the_folder_itself_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    refused(str(path))


def test_a_folder_that_cannot_be_made() -> None:
    message = refused("/proc/functrax/cache")
    assert message.startswith("[compilation cache] expected a folder to keep programs in; got ")


def test_a_path_that_no_folder_can_have() -> None:
    message = refused("/tmp/functrax\0cache")
    assert message.startswith("[compilation cache] expected a folder to keep programs in; got ")


def test_a_pipe_in_the_place_of_the_ledger(folder: Path) -> None:
    run(2.0)
    pipe(folder / LEDGER)
    with pytest.warns(CacheWarning, match="expected to write an entry"):
        run(3.0)
    run(2.0)


def test_a_home_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delitem(cache._stores, None, raising=False)
    with (
        functrax.config.scope(compilation_cache_dir=None),
        pytest.warns(CacheWarning, match="the user has no home folder"),
    ):
        run()
    monkeypatch.delitem(cache._stores, None)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read(folder: Path) -> None:
    run(2.0)
    folder.chmod(0o500)
    with pytest.warns(CacheWarning) as told:
        run(3.0, 4.0, 2.0)
    folder.chmod(0o700)
    assert len(told) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run(2.0)
    hits, misses = counts()

    def fail(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number), target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(CacheWarning) as told:
        run(3.0, 4.0)
    (warning,) = told
    assert "expected to write an entry" in str(warning.message)
    assert os.strerror(number) in str(warning.message)
    assert not temporaries(folder)
    run(2.0)  # what is there can still be read
    assert counts() == (hits + 1, misses + 2)
    assert cache.summary().state.startswith("only read (")


def test_a_folder_that_vanishes_is_not_fatal(folder: Path) -> None:
    run(2.0)
    cache.clear()
    folder.rmdir()
    with pytest.warns(CacheWarning):
        run(3.0)
    run(2.0)


def test_a_folder_that_everybody_can_write_to(tmp_path: Path) -> None:
    path = tmp_path / "public"
    path.mkdir()
    path.chmod(0o777)
    message = re.sub(r"\.py:\d+", ".py", refused(str(path)))
    assert message == (
        "[compilation cache] expected a folder to keep programs in; "
        f"got '{path}', which everybody can write to (test_cache.py). "
        "Correct that, or name another with config.update('compilation_cache_dir')."
    )
    assert not list(path.iterdir())


def test_whose_folders_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    private, public = tmp_path / "private", tmp_path / "public"
    for parent, mode in ((private, 0o755), (public, 0o1777)):
        (parent / "cache").mkdir(parents=True)
        (parent / "cache").chmod(0o755)
        parent.chmod(mode)
    monkeypatch.setattr(os, "getuid", lambda: mine + 1 if mine else 1000)
    if mine:  # as root the folders belong to root, whom everybody trusts
        CacheFolder(str(private / "cache"), named=True)
        for path, named in ((private, False), (public, False), (public, True)):
            with pytest.raises(FileError, match=f"which belongs to user {mine}"):
                CacheFolder(str(path / "cache"), named=named)
    else:
        CacheFolder(str(public / "cache"), named=False)


# Options


def test_switched_off(folder: Path) -> None:
    counted = counts()
    with functrax.config.scope(enable_compilation_cache=False):
        run()
        assert cache.summary().state == "off (enable_compilation_cache is False)"
    assert counts() == counted
    assert not entries(folder)


def test_only_what_took_long(folder: Path) -> None:
    with functrax.config.scope(persistent_cache_min_compile_time_secs=1e6):
        run()
    with functrax.config.scope(persistent_cache_min_entry_size_bytes=10**9):
        run(3.0)
    assert not entries(folder)


def test_xla_writes_its_dumps_on_every_compilation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere")
    run()
    assert not entries(folder)


def test_the_size_is_bounded_and_the_oldest_go_first(folder: Path) -> None:
    run(1.0)
    (oldest,) = entries(folder)
    size = oldest.stat().st_size
    past = time.time() - 1e5
    os.utime(oldest, (past, past))
    limit = 5 * 2 * 4096
    with functrax.config.scope(compilation_cache_max_size=limit):
        for number in range(2, 12):
            run(float(number))
            assert sum(path.stat().st_size for path in entries(folder)) <= limit
    assert not oldest.exists()
    assert len(entries(folder)) * size > limit / 4
    assert len(entries(folder)) < 10


def test_use_keeps_an_entry(folder: Path) -> None:
    run(1.0)
    (first,) = entries(folder)
    past = time.time() - 1e5
    os.utime(first, (past, past))
    run(1.0)
    assert first.stat().st_mtime > past + 1000


def test_what_is_larger_than_the_limit_is_not_written(folder: Path) -> None:
    with functrax.config.scope(compilation_cache_max_size=100):
        run()
    assert not entries(folder)


def test_writing_does_not_list_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        run(2.0)
    assert len(entries(folder)) == 2


def test_a_lost_ledger_is_made_anew(folder: Path) -> None:
    for number in range(1, 5):
        run(float(number))
    before = (folder / LEDGER).stat().st_size
    (folder / LEDGER).unlink()
    run(5.0)
    assert (folder / LEDGER).stat().st_size >= before


def test_default_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/ada")
    assert default_path() == "/scratch/ada/functrax/programs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_path() == "/home/ada/.cache/functrax/programs"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_path() == "/home/ada/Library/Caches/functrax/programs"


# Processes

PROGRAM = """
    import os
    import numpy as np
    import functrax
    from functrax.core.primitive import registry
    from functrax.core.trace import as_value, bind
    from functrax.runtime import cache

    def f(x):
        for _ in range(4):
            x = bind(registry["tanh"], bind(registry["mul"], x, x)[0])[0]
        return x

    functrax.devices()
    {prelude}
    result = functrax.jit(f)(np.arange(6, dtype=np.float32))
    found = cache.summary()
    print(found.hits, found.misses, float(np.asarray(result)[3]))
"""


def start(folder: Path, prelude: str = "") -> "subprocess.Popen[str]":
    environment = os.environ | {
        "FUNCTRAX_COMPILATION_CACHE_DIR": str(folder),
        "FUNCTRAX_NUM_CPU_DEVICES": "1",
        "PYTHONPATH": str(ROOT),
    }
    code = textwrap.dedent(PROGRAM).format(prelude=prelude)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, int, float]:
    out, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    hits, misses, value = out.split()
    return int(hits), int(misses), float(value)


def test_two_processes_compile_one_program_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = f"while not os.path.exists({str(gate)!r}): pass"
    processes = [start(tmp_path / "cache", wait) for _ in range(2)]
    time.sleep(2)
    gate.touch()
    results = [finish(process) for process in processes]
    assert len({value for *_, value in results}) == 1
    assert all(hits + misses >= 1 for hits, misses, _ in results)
    assert not temporaries(tmp_path / "cache")
    hits, misses, value = finish(start(tmp_path / "cache"))
    assert (hits >= 1, misses) == (True, 0)
    assert value == results[0][2]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_killed_writer_leaves_a_file_that_is_removed_later(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    die = "os.replace = lambda *names: os.kill(os.getpid(), 9)"
    process = start(folder, die)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    left = temporaries(folder)
    assert left
    assert not entries(folder)
    hits, misses, _ = finish(start(folder))
    assert hits == 0
    assert misses >= 1
    assert entries(folder)
    # When the folder is next listed, files of that age belong to no living process.
    past = time.time() - 7200
    for path in left:
        os.utime(path, (past, past))
    other = CacheFolder(str(folder), named=True)
    limit = 2 * sum(path.stat().st_size for path in folder.iterdir()) + 4 * 4096
    other.write("0" * 64, Entry(bytes(limit - 1000), 1.0), limit)
    assert not temporaries(folder)


def test_a_reader_never_sees_a_half_written_entry(tmp_path: Path) -> None:
    folder = CacheFolder(str(tmp_path / "cache"), named=True)
    entry = Entry(bytes(range(256)) * 4096, 1.0)
    folder.write("k", entry, -1)
    code = f"""
        from functrax.runtime.cache_folder import CacheFolder, Entry
        folder = CacheFolder({folder.path!r}, named=True)
        for _ in range(200):
            folder.write("k", Entry(bytes(range(256)) * 4096, 1.0), -1)
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    reads = 0
    while writer.poll() is None:
        assert folder.read("k") == entry
        reads += 1
    assert writer.returncode == 0
    assert reads > 1


def test_entries_of_another_compiler_are_not_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(cache, "_compiler", lambda client: b"another")
    run()
    assert len(entries(folder)) == 2


def test_the_facts_that_a_key_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    client = functrax.devices("cpu")[0].client
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    facts = cache._compiler.__wrapped__(client).decode()
    assert "--xla_cpu_enable_fast_math=true" in facts
    assert "'cpu'" in facts
    if sys.platform == "linux":
        assert "model name" in facts or "CPU part" in facts


def test_no_warning_without_a_reason(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3):
            run(float(number))
