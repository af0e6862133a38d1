"""The language model: three ways of training that agree, files, and what it says of bad input."""

import functools
import io
import re
from collections import Counter

import numpy as np
import pytest
import safetensors.numpy
import tqdm

import functrax
from examples import lm
from functrax import random

FILES = ["lm.safetensors", "loss.png", "sample.txt"]
SIZE = lm.Size(16, 2, 4, 8)
TINY = ["--width", 16, "--layers", 2, "--heads", 4, "--context", 8, "--batch-size", 8]
load_data = lm.load_data


@pytest.fixture(autouse=True, scope="module")
def short_texts():
    """Test texts of 1,000 bytes and samples of 40."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "SAMPLE", 40)
        patch.setattr(lm, "load_data", lambda: (load_data()[0], load_data()[1][:1000]))
        yield


def run(*arguments):
    """Run the program with a tiny model; return its exit status."""
    return lm.main([str(argument) for argument in [*TINY, *arguments]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, short_texts):
    """The folder of one short run, what it printed, and the progress bar."""
    folder = tmp_path_factory.mktemp("lm") / "made" / "on the way"
    bar, printed = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        shown = functools.partial(tqdm.tqdm, file=bar)
        patch.setattr(lm, "tqdm", lambda **options: shown(**{**options, "disable": False}))
        patch.setattr("sys.stdout", printed)
        assert run("--steps", 60, "--out", folder) == 0
    return folder, printed.getvalue(), bar.getvalue()


# Training -----------------------------------------------------------------------------------------


@functools.cache
def losses(parallel, shape, seed=0):
    mesh = functrax.make_mesh(shape, ("data", "model"))
    program = lm.PROGRAMS[parallel](mesh, SIZE, 10)
    params, values, _ = lm.train(load_data()[0], program, seed, 5, 8, SIZE.context)
    return params, values


@pytest.mark.parametrize(
    ("parallel", "shape"),
    [
        ("pmap", (4, 1)),
        ("pmap", (8, 1)),
        ("jit", (2, 1)),
        ("jit", (4, 2)),
        ("shard_map", (1, 2)),
        ("shard_map", (2, 4)),
    ],
)
def test_all_ways_agree_step_by_step(parallel, shape):
    params, values = losses(parallel, shape)
    expected_params, expected = losses("pmap", (1, 1))
    assert expected[-1] < expected[0] - 0.1
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    for name, shapes in lm.parameter_types(SIZE).items():
        assert params[name].shape == shapes.shape
        np.testing.assert_allclose(params[name], expected_params[name], atol=1e-4)


def test_parameters_and_their_means_are_divided():
    mesh = functrax.make_mesh((4, 2), ("data", "model"))
    params, state = lm.by_shard_map(mesh, SIZE, 10).start(random.key(0))
    for tree in (params, state.mean, state.square):
        parts = {name: x.addressable_shards[0].data.size / x.size for name, x in tree.items()}
        assert parts == {
            "embedding": 1 / 4,
            "position": 1 / 4,
            "norm": 1,
            "attention.norm": 1,
            "attention.in": 1 / 8,
            "attention.out": 1 / 8,
            "dense.norm": 1,
            "dense.in": 1 / 8,
            "dense.out": 1 / 8,
        }


def test_what_shard_map_sends_is_what_was_written():
    mesh = functrax.make_mesh((4, 2), ("data", "model"))
    program = lm.by_shard_map(mesh, SIZE, 10)
    tokens = np.zeros((8, SIZE.context + 1), np.int32)
    report = functrax.explain_comms(program.step)(*program.start(random.key(0)), tokens)
    assert report.implicit == ()
    kinds = Counter((one.kind, *one.axes) for one in report)
    # One of each weight of a layer going forward, again going back, and two for the embeddings.
    assert kinds["all-gather", "data"] == 4 + 4 + 2
    assert kinds["reduce-scatter", "data"] == 4 + 2
    assert kinds["all-reduce", "model"] >= 4


def test_batches_are_pieces_of_the_text():
    text = np.arange(200, dtype=np.uint8)
    first, second, *_ = (batch for batch, _ in zip(lm.batches(text, 0, 16, 9), range(3)))
    assert (first.shape, first.dtype) == ((16, 9), np.int32)
    assert (np.diff(first) == 1).all()
    assert (first != second).any()
    whole = next(lm.batches(text, 0, 3, 200))
    np.testing.assert_array_equal(whole, [text] * 3)


def test_the_text_is_the_standard_library():
    training, test = load_data()
    assert len(training) > 1_000_000
    assert 0.01 < len(test) / len(training) < 0.2
    assert b"\nimport " in training.tobytes()
    np.testing.assert_array_equal(test, load_data()[1])


# What it prints and writes ------------------------------------------------------------------------


def test_what_it_prints(trained):
    folder, printed, bar = trained
    speed, loss, heading, *sample, times, wrote = printed.splitlines()
    assert re.fullmatch(r"speed: [\d,]+ tokens/s, pmap on 8 devices", speed)
    found = re.fullmatch(r"test loss: (\d\.\d{4}) bits per byte", loss)
    assert float(found[1]) < 7.5
    assert heading == "sample:"
    assert "\n".join(sample) == (folder / "sample.txt").read_text()
    assert sample[0].startswith("def ")
    assert times.startswith("time: tracing ")
    assert wrote == f"wrote loss.png, sample.txt and lm.safetensors to {folder}"
    assert "60/60" in bar
    assert re.search(r"loss \d\.\d{3} bits per byte, [\d,]+ tokens/s", bar)


def test_what_it_writes(trained):
    folder, _, _ = trained
    assert sorted(path.name for path in folder.iterdir()) == FILES  # and no temporary files
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "sample.txt").read_text().isascii()
    arrays = safetensors.numpy.load_file(folder / FILES[0])
    shapes = {name: one.shape for name, one in lm.parameter_types(SIZE).items()}
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())


def test_evaluation_finds_the_same(trained, capsys):
    folder, printed, _ = trained
    assert lm.main(["--evaluate", str(folder / FILES[0])]) == 0  # the size is in the file
    out, err = capsys.readouterr()
    assert out in printed
    assert err == ""


def test_the_same_seed_gives_the_same_bits(tmp_path):
    made = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        folder = tmp_path / name
        assert run("--steps", 2, "--seed", seed, "--out", folder) == 0
        made[name] = [(folder / file).read_bytes() for file in (FILES[0], FILES[2])]
    assert made["a"] == made["b"]
    assert made["a"][0] != made["c"][0]
    assert made["a"][1] != made["c"][1]


def test_a_sample_is_longer_than_the_context_and_each_byte_follows_from_those_before():
    params = lm.init_params(random.key(0), SIZE)
    params["embedding"] *= 100  # sure of what follows
    prompt = np.frombuffer(b"abc", np.uint8).astype(np.int32)
    text = np.asarray(lm.generate(params, random.key(1), prompt, 20))
    assert (text.shape, text[:3].tobytes()) == ((23,), prompt.tobytes())
    for place in range(3, 23):
        window = text[max(0, place - SIZE.context) : place]
        scores = np.asarray(lm.predict(params, window[None])[0, -1])
        assert scores[text[place]] > scores.max() - 20


def test_bytes_are_shown_by_every_terminal():
    assert lm.readable(np.array([97, 10, 9, 27, 0xE9, 126, 127])) == "a\n\t\\x1b\\xe9~\\x7f"


# Bad input ----------------------------------------------------------------------------------------


def error_of(capsys, *arguments):
    """Run the program, which must fail; return the one line that it says."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.strip()


def test_no_sources(tmp_path, monkeypatch, capsys):
    (tmp_path / "_hidden.py").write_text("pass")
    monkeypatch.setattr(lm, "load_data", functools.partial(load_data, tmp_path))
    assert error_of(capsys) == (
        "error: [train] expected the sources of Python's standard library; got 0 modules in "
        f"{tmp_path}. Use a Python that was installed with them."
    )


def test_a_missing_file(tmp_path, capsys):
    path = tmp_path / "none.safetensors"
    assert error_of(capsys, "--evaluate", path) == (
        f"error: [evaluate] expected a safetensors file; got {path}: No such file or directory: "
        f"{path}. {lm.CURE}"
    )


@pytest.mark.parametrize(
    ("change", "expected", "got"),
    [
        (
            {"norm": np.zeros(17, np.float32)},
            "'norm' of shape (16,) and dtype float32",
            "shape (17,) and dtype float32 in",
        ),
        ({"more": np.zeros(1, np.float32)}, "the parameters of this network", "a 'more' in"),
        (
            {"position": None},
            "'attention.in' of shape (1, 1, 3, 1, 1) and dtype float32",
            "shape (2, 16, 3, 4, 4) and dtype float32 in",
        ),
    ],
)
def test_the_parameters_of_another_network(change, expected, got, trained, tmp_path, capsys):
    arrays = safetensors.numpy.load_file(trained[0] / FILES[0]) | change
    path = tmp_path / "other.safetensors"
    kept = {name: array for name, array in arrays.items() if array is not None}
    safetensors.numpy.save_file(kept, path)
    assert error_of(capsys, "--evaluate", path) == (
        f"error: [evaluate] expected {expected}; got {got} {path}. {lm.CURE}"
    )


def test_a_file_in_place_of_the_folder(tmp_path, capsys):
    path = tmp_path / "out"
    path.write_text("in the way")
    assert error_of(capsys, "--out", path) == (
        f"error: [train] expected a folder that can be written; got {path}: [Errno 17] File "
        f"exists: '{path}'. Choose another with `--out`."
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--devices 9", "argument --devices: 9 devices, where there are 8"),
        ("--devices 3", "argument --devices: 3 devices cannot divide a batch of 8 pieces"),
        (
            "--mesh 4x4 --parallel jit",
            "argument --mesh: 16 devices, where there are 8",
        ),
        (
            "--mesh 3x2 --parallel jit",
            "argument --mesh: 3 devices cannot divide a batch of 8 pieces",
        ),
        (
            "--mesh 2x2 --devices 8 --parallel jit",
            "argument --mesh: 4 devices, and --devices says 8",
        ),
        (
            "--mesh 1x8 --parallel shard_map",
            "argument --mesh: 8 devices cannot divide 4 heads",
        ),
        (
            "--mesh 8x1 --parallel jit --width 20",
            "argument --mesh: 8 devices cannot divide a width of 20",
        ),
        (
            "--mesh 4x2",
            "argument --mesh: pmap divides the batch alone; use --parallel jit or shard_map",
        ),
        ("--mesh 4", "argument --mesh: '4' is not two sizes, such as 4x2"),
        ("--mesh 0x2", "argument --mesh: '0x2' is not two sizes, such as 4x2"),
        ("--heads 3", "argument --heads: 3 heads cannot divide a width of 16"),
        ("--batch-size 0", "argument --batch-size: 0 is not 1 or more"),
        ("--steps few", "argument --steps: invalid integer value: 'few'"),
        ("--context 0", "argument --context: 0 is not from 1 to 4096"),
        ("--prompt=", "argument --prompt: expected a text"),
        (
            "--parallel all",
            "argument --parallel: invalid choice: 'all' (choose from pmap, jit, shard_map)",
        ),
    ],
)
def test_options_that_cannot_be(arguments, text, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments.split())
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1].split(": error: ", 1)[1]
    assert said.replace("'pmap', 'jit', 'shard_map'", "pmap, jit, shard_map") == text
