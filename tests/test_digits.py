"""The example that the README starts with: training, files, and what it says of bad input."""

import functools
import io
import re
import struct

import numpy as np
import pytest
import safetensors.numpy
import tqdm

from examples import digits

FILES = ["digits.safetensors", "loss.png", "mistakes.png"]
CURE = "Make one with `python examples/digits.py`."


def run(*arguments):
    """Run the program; return its exit status."""
    return digits.main([str(argument) for argument in arguments])


def accuracy(text):
    return float(re.search(r"^test accuracy: (\d\.\d{4}) \(\d+ of 360\)$", text, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of one short run, what it printed, and the progress bar."""
    folder = tmp_path_factory.mktemp("digits") / "made" / "on the way"
    bar, printed = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        shown = functools.partial(tqdm.tqdm, file=bar)
        patch.setattr(digits, "tqdm", lambda **options: shown(**{**options, "disable": False}))
        patch.setattr("sys.stdout", printed)
        assert run("--epochs", 2, "--out", folder) == 0
    return folder, printed.getvalue(), bar.getvalue()


def test_what_it_prints(trained):
    folder, printed, bar = trained
    first, second, third = printed.splitlines()
    assert accuracy(first) > 0.8
    times = re.fullmatch(
        r"time: tracing (\S+) s, lowering (\S+) s, compiling (\S+) s, running (\S+) s", second
    )
    assert all(float(seconds) >= 0 for seconds in times.groups())
    assert float(times[4]) > 0
    assert third == f"wrote loss.png, mistakes.png and digits.safetensors to {folder}"
    assert "44/44" in bar
    assert re.search(r"epoch 1/2, loss \d\.\d{4}, [\d,]+ examples/s", bar)
    assert re.search(r"epoch 2/2, loss \d\.\d{4}, [\d,]+ examples/s", bar)


def test_what_it_writes(trained):
    folder, _, _ = trained
    assert sorted(path.name for path in folder.iterdir()) == FILES  # and no temporary files
    for name in FILES[1:]:
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content.endswith(b"IEND\xaeB`\x82")
        assert min(struct.unpack(">2I", content[16:24])) > 100  # pixels
        assert digits.plt.imread(folder / name).std() > 0.01  # not blank
    arrays = safetensors.numpy.load_file(folder / FILES[0])
    assert {name: array.shape for name, array in arrays.items()} == {
        "conv1.weight": (3, 3, 1, 32),
        "conv1.bias": (32,),
        "conv2.weight": (3, 3, 32, 64),
        "conv2.bias": (64,),
        "dense1.weight": (1024, 128),
        "dense1.bias": (128,),
        "dense2.weight": (128, 10),
        "dense2.bias": (10,),
    }
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())


def test_evaluation_finds_the_same_accuracy(trained, capsys):
    folder, printed, _ = trained
    assert run("--evaluate", folder / FILES[0]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (printed.splitlines()[0] + "\n", "")


def test_the_same_seed_gives_the_same_bits(tmp_path, capsys):
    made = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        folder = tmp_path / name
        assert run("--epochs", 1, "--seed", seed, "--out", folder) == 0
        made[name] = (folder / FILES[0]).read_bytes()
    assert made["a"] == made["b"]
    assert made["a"] != made["c"]
    first, *_, last = (line for line in capsys.readouterr().out.splitlines() if "accuracy" in line)
    assert first != last


def test_any_number_of_devices_gives_the_same_losses():
    training, _ = digits.load_data()
    data = digits.Data(training.images[:320], training.labels[:320])
    found = {n: digits.train(data, 0, 1, 64, n) for n in (1, 2, 4, 8)}
    for params, losses in found.values():
        np.testing.assert_allclose(losses, found[1][1], rtol=1e-4)
        for name in params:
            np.testing.assert_allclose(params[name], found[1][0][name], atol=1e-4)


@pytest.mark.parametrize("devices", ["9", "3"])
def test_devices_that_are_not_there_or_do_not_divide(devices, capsys):
    with pytest.raises(SystemExit):
        run("--devices", devices)
    assert (
        f"argument --devices: {devices} devices, where there are 8 and a batch has 64 images"
        in capsys.readouterr().err
    )


def test_the_split_is_fixed_and_whole():
    training, test = digits.load_data()
    assert (training.images.shape, test.images.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert sorted(set(test.labels.tolist())) == list(range(10))
    whole = np.concatenate([training.images, test.images]).reshape(1797, 64)
    assert len(np.unique(whole, axis=0)) == len(np.unique(digits.load_digits().data, axis=0))
    assert (whole.min(), whole.max()) == (0, 1)
    assert test.labels[:8].tolist() == digits.load_data()[1].labels[:8].tolist()


@pytest.mark.slow
def test_a_whole_run_reaches_the_accuracy(tmp_path, capsys):
    assert run("--out", tmp_path) == 0
    assert accuracy(capsys.readouterr().out) >= 0.98


# Bad input ----------------------------------------------------------------------------------------


def error_of(capsys, *arguments):
    """Run the program, which must fail; return the one line that it says."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.strip()


def test_a_missing_file(tmp_path, capsys):
    path = tmp_path / "none.safetensors"
    assert error_of(capsys, "--evaluate", path) == (
        f"error: [evaluate] expected a safetensors file; got {path}: No such file or directory: "
        f"{path}. {CURE}"
    )


def test_a_folder_instead_of_a_file(tmp_path, capsys):
    text = error_of(capsys, "--evaluate", tmp_path)
    assert text.startswith(f"error: [evaluate] expected a safetensors file; got {tmp_path}: ")
    assert text.endswith(CURE)


def test_a_truncated_file(trained, tmp_path, capsys):
    whole = (trained[0] / FILES[0]).read_bytes()
    path = tmp_path / FILES[0]
    for length, reason in (
        (len(whole) // 2, "incomplete metadata, file not fully covered"),
        (100, "invalid header length"),
        (0, "header too small"),
    ):
        path.write_bytes(whole[:length])
        assert error_of(capsys, "--evaluate", path) == (
            f"error: [evaluate] expected a safetensors file; got {path}: Error while deserializing "
            f"header: {reason}. {CURE}"
        )


def test_a_file_of_another_kind(tmp_path, capsys):
    path = tmp_path / "notes.txt"
    path.write_text("these are not parameters, but a text that is long enough")
    assert error_of(capsys, "--evaluate", path) == (
        f"error: [evaluate] expected a safetensors file; got {path}: Error while deserializing "
        f"header: header too large. {CURE}"
    )


@pytest.mark.parametrize(
    ("change", "expected", "got"),
    [
        (
            {"conv1.weight": np.zeros((5, 5, 1, 32), np.float32)},
            "'conv1.weight' of shape (3, 3, 1, 32) and dtype float32",
            "shape (5, 5, 1, 32) and dtype float32 in",
        ),
        (
            {"dense2.bias": np.zeros(10, np.float64)},
            "'dense2.bias' of shape (10,) and dtype float32",
            "shape (10,) and dtype float64 in",
        ),
        (
            {"dense2.bias": None},
            "'dense2.bias' of shape (10,) and dtype float32",
            "none in",
        ),
        (
            {"dense2.bias": np.full(10, np.nan, np.float32)},
            "'dense2.bias' of finite numbers",
            "NaN or infinities in",
        ),
        (
            {"dense3.bias": np.zeros(10, np.float32)},
            "the parameters of this network",
            "a 'dense3.bias' in",
        ),
    ],
)
def test_the_parameters_of_another_network(change, expected, got, trained, tmp_path, capsys):
    arrays = safetensors.numpy.load_file(trained[0] / FILES[0]) | change
    path = tmp_path / "other.safetensors"
    kept = {name: array for name, array in arrays.items() if array is not None}
    safetensors.numpy.save_file(kept, path)
    assert error_of(capsys, "--evaluate", path) == (
        f"error: [evaluate] expected {expected}; got {got} {path}. {CURE}"
    )


def test_a_file_in_place_of_the_folder(tmp_path, capsys):
    path = tmp_path / "out"
    path.write_text("in the way")
    for folder, reason in (
        (path, "[Errno 17] File exists"),
        (path / "inside", "[Errno 20] Not a directory"),
    ):
        assert error_of(capsys, "--out", folder) == (
            f"error: [train] expected a folder that can be written; got {folder}: {reason}: "
            f"'{folder}'. Choose another with `--out`."
        )
    assert path.read_text() == "in the way"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_that_it_makes(name, tmp_path, capsys):
    (tmp_path / name).mkdir()
    assert error_of(capsys, "--out", tmp_path) == (
        f"error: [train] expected a folder that can be written; got {tmp_path}: {name} is a folder "
        "there. Choose another with `--out`."
    )


def test_the_disk_is_full_at_the_end(tmp_path, monkeypatch, capsys):
    def refuse(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(digits.Path, "write_bytes", refuse)
    assert run("--epochs", 1, "--out", tmp_path) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: \[Errno 28\] No space left on device: '.*'\n", err)
    assert not list(tmp_path.iterdir())  # no half of a file


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--epochs", "0"], "argument --epochs: 0 is not 1 or more"),
        (["--epochs", "many"], "argument --epochs: invalid integer value: 'many'"),
        (["--batch-size", "0"], "argument --batch-size: 0 is not from 1 to 1437"),
        (["--batch-size", "1438"], "argument --batch-size: 1438 is not from 1 to 1437"),
        (["--seed", "-1"], "argument --seed: -1 is not from 0 to 2147483647"),
        (["--seed", "3000000000"], "argument --seed: 3000000000 is not from 0 to 2147483647"),
        (["--seed", "1.5"], "argument --seed: invalid integer value: '1.5'"),
        (["--evaluate"], "argument --evaluate: expected one argument"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_options_that_cannot_be(arguments, text, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].split(": error: ", 1)[1] == text
