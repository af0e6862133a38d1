"""Convolutions against JAX: random ones with their rules, special forms, what is refused."""

import random

import jax
import numpy as np
import pytest
from jax import lax as jax_lax

import functrax
from functrax import errors
from functrax.primitives.convolution import conv_general_dilated
from functrax.primitives.convolution_forms import (
    conv,
    conv_general_dilated_patches,
    conv_transpose,
    conv_with_general_padding,
)
from functrax.primitives.convolution_numbers import conv_dimension_numbers, padtype_to_pads


def sample(rng, shape, dtype=np.float32):
    """Return random numbers, complex ones too."""
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def close(got, wanted):
    """Compare values and types."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


class Convolution:
    """A random convolution: any rank, layout, groups, strides, dilations and (negative) "
    "paddings."""

    def __init__(self, seed):
        pick = random.Random(seed)
        rank = pick.choice([0, 1, 1, 2, 2, 3])
        feature_groups = pick.choice([1, 1, 2, 3])
        batch_groups = pick.choice([1, 2, 3]) if feature_groups == 1 else 1
        groups = feature_groups * batch_groups
        batch, features, outputs = (pick.choice([1, 2]) for _ in range(3))
        specs = [pick.sample(range(rank + 2), rank + 2) for _ in range(3)]
        sizes = (
            [batch * batch_groups, features * feature_groups, *self.many(pick, rank, 3, 6)],
            [outputs * groups, features, *self.many(pick, rank, 1, 3)],
        )
        self.shapes = [
            [size for _, size in sorted(zip(spec, values, strict=True))]
            for spec, values in zip(specs, sizes)
        ]
        self.dtype = pick.choice([np.float32, np.float32, np.complex64])
        self.options = {
            "window_strides": self.many(pick, rank, 1, 3),
            "padding": [tuple(self.many(pick, 2, -1, 3)) for _ in range(rank)],
            "lhs_dilation": self.many(pick, rank, 1, 2),
            "rhs_dilation": self.many(pick, rank, 1, 2),
            "feature_group_count": feature_groups,
            "batch_group_count": batch_groups,
        }
        self.numbers = [tuple(spec) for spec in specs]

    @staticmethod
    def many(pick, count, low, high):
        return [pick.randint(low, high) for _ in range(count)]

    def ours(self, lhs, rhs):
        return conv_general_dilated(lhs, rhs, **self.options, dimension_numbers=self.numbers)

    def theirs(self, lhs, rhs):
        numbers = jax_lax.ConvDimensionNumbers(*self.numbers)
        return jax_lax.conv_general_dilated(lhs, rhs, **self.options, dimension_numbers=numbers)


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_value_and_gradient(seed):
    case, rng = Convolution(seed), np.random.default_rng(seed)
    lhs, rhs = (sample(rng, shape, case.dtype) for shape in case.shapes)
    wanted, pull = jax.vjp(case.theirs, lhs, rhs)
    got, own_pull = functrax.vjp(case.ours, lhs, rhs)
    close(got, wanted)
    cotangent = sample(rng, got.shape, case.dtype)
    for ours, theirs in zip(own_pull(cotangent), pull(cotangent)):
        close(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_mapped(seed):
    case, rng = Convolution(seed), np.random.default_rng(seed)
    dims = [int(rng.integers(len(shape) + 1)) for shape in case.shapes]
    single = [sample(rng, shape, case.dtype) for shape in case.shapes]
    stacked = [
        np.stack([sample(rng, shape, case.dtype) for _ in range(3)], dim)
        for shape, dim in zip(case.shapes, dims)
    ]
    for axes in ((dims[0], None), (None, dims[1]), tuple(dims)):
        operands = [single[i] if axes[i] is None else stacked[i] for i in range(2)]
        rows = [
            case.ours(*(x if a is None else np.take(x, row, a) for x, a in zip(operands, axes)))
            for row in range(3)
        ]
        close(functrax.vmap(case.ours, axes)(*operands), np.stack([np.asarray(r) for r in rows]))
        nothing = [x if a is None else np.take(x, [], a) for x, a in zip(operands, axes)]
        assert functrax.vmap(case.ours, axes)(*nothing).shape == (0, *rows[0].shape)


def test_gradient_of_convolution_in_low_precision():
    """The sums may be wider than the operands: so are the cotangents."""
    rng = np.random.default_rng(0)
    x, w = sample(rng, (1, 2, 6), np.float16), sample(rng, (3, 2, 3), np.float16)

    def total(x, w):
        return conv(x, w, (1,), "SAME", preferred_element_type=np.float32).sum()

    dx, dw = functrax.grad(total, argnums=(0, 1))(x, w)
    assert (dx.dtype, dw.dtype) == (np.float16, np.float16)
    exact = functrax.grad(total, argnums=(0, 1))(x.astype(np.float32), w.astype(np.float32))
    for got, wanted in zip((dx, dw), exact):
        np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=2e-3, atol=2e-3)


def test_integers():
    x, w = np.arange(12, dtype=np.int8).reshape(1, 2, 6), np.ones((3, 2, 2), np.int8)
    close(conv(x, w, (2,), "VALID"), jax_lax.conv(x, w, (2,), "VALID"))
    wide = conv(x * 10, w, (2,), "VALID", preferred_element_type=np.int32)
    assert (wide.dtype, int(np.asarray(wide).max())) == (np.int32, 10 * (4 + 5 + 10 + 11))


@pytest.mark.parametrize("lhs", [(0, 2, 5), (1, 0, 5), (1, 2, 0), (1, 2, 1)])
def test_nothing(lhs):
    """Without batch, features or places there are zeros, or nothing; and gradients alike."""
    x, w = np.ones(lhs, np.float32), np.ones((3, lhs[1], 2), np.float32)
    y, pull = functrax.vjp(lambda x, w: conv(x, w, (1,), "VALID"), x, w)
    assert y.shape == (lhs[0], 3, max(lhs[2] - 1, 0))
    assert not np.asarray(y).any()
    dx, dw = pull(y)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    assert not np.asarray(dw).any()


# Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID", "same"])
def test_words_of_padding(padding):
    rng = np.random.default_rng(0)
    x, w = sample(rng, (2, 7, 8, 3)), sample(rng, (3, 2, 3, 4))
    numbers = ("NHWC", "HWIO", "NHWC")
    found, wanted = (
        module(x, w, (2, 3), padding, rhs_dilation=(1, 2), dimension_numbers=numbers)
        for module in (conv_general_dilated, jax_lax.conv_general_dilated)
    )
    close(found, wanted)


def test_dimension_numbers():
    for form in [None, ("NHWC", "HWIO", "NHWC"), ("NCWH", "OIHW", "HNWC"), ((0, 3, 1, 2),) * 3]:
        found = conv_dimension_numbers((1, 2, 3, 4), (1, 2, 3, 4), form)
        given = jax_lax.ConvDimensionNumbers(*form) if form and form[0] == (0, 3, 1, 2) else form
        wanted = jax_lax.conv_dimension_numbers((1, 2, 3, 4), (1, 2, 3, 4), given)
        assert tuple(found) == (wanted.lhs_spec, wanted.rhs_spec, wanted.out_spec)


def test_conv_with_general_padding():
    rng = np.random.default_rng(0)
    x, w = sample(rng, (2, 3, 6)), sample(rng, (4, 3, 2))
    arguments = ((2,), [(1, 2)], (2,), (3,))
    close(
        conv_with_general_padding(x, w, *arguments),
        jax_lax.conv_with_general_padding(x, w, *arguments),
    )


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(0, 1), (2, 1)]], ids=str)
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 3)])
def test_conv_transpose(size, stride, padding, transpose_kernel):
    rng = np.random.default_rng(0)
    features = (2, 3) if transpose_kernel else (3, 2)
    x, w = sample(rng, (1, 4, 5, 3)), sample(rng, (size, 2, *features))
    options = {"rhs_dilation": (1, 2), "transpose_kernel": transpose_kernel}
    close(
        conv_transpose(x, w, (stride, 1), padding, **options),
        jax_lax.conv_transpose(x, w, (stride, 1), padding, **options),
    )
    options["use_consistent_padding"] = True
    close(
        conv_transpose(x, w, (stride, 1), padding, **options),
        jax_lax.conv_transpose(x, w, (stride, 1), padding, **options),
    )


def test_patches():
    x = sample(np.random.default_rng(0), (2, 5, 6, 3))
    arguments = (x, (2, 3), (1, 2), "SAME")
    for numbers in (None, ("NHWC", "HWIO", "NHWC")):
        close(
            conv_general_dilated_patches(*arguments, dimension_numbers=numbers),
            jax_lax.conv_general_dilated_patches(*arguments, dimension_numbers=numbers),
        )


# What is refused ----------------------------------------------------------------------------------

X, W = np.zeros((1, 3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32)
CALL = "[conv_general_dilated] expected"
REFUSED = [
    (lambda: conv_general_dilated(X, W, (1,), "SAME"), errors.ArgumentError,
     f"{CALL} window_strides with an entry of at least 1 for each of 2 axes; got (1,) (HERE)."),
    (lambda: conv_general_dilated(X, W, (0, 1), "SAME"), errors.ArgumentError,
     f"{CALL} window_strides with an entry of at least 1 for each of 2 axes; got (0, 1) (HERE)."),
    (lambda: conv_general_dilated(X, W, (1, 1), "FULL"), errors.ArgumentError,
     f"{CALL} padding 'VALID', 'SAME' or 'SAME_LOWER', or a pair for each spatial axis; got 'FULL' "
     "(HERE)."),
    (lambda: conv_general_dilated(X, W, (1, 1), [(1, 1)]), errors.ArgumentError,
     f"{CALL} a word or 2 pairs (low, high) as the padding; got [(1, 1)] (HERE)."),
    (lambda: conv_general_dilated(X, W, (1, 1), "SAME", (2, 2)), errors.ArgumentError,
     f"{CALL} pairs as the padding of a dilated lhs; got 'SAME' (HERE). For a transposed "
     "convolution "
     "use `conv_transpose`."),
    (lambda: conv_general_dilated(X, W[:, :2], (1, 1), "SAME"), errors.ShapeError,
     f"{CALL} images of 2 features; got 3 in f32[1,3,8,8] along axis 1, with kernels f32[4,2,3,3] "
     "(HERE). Check dimension_numbers and feature_group_count."),
    (lambda: conv_general_dilated(X, W[0], (1, 1), "SAME"), errors.ShapeError,
     f"{CALL} lhs and rhs of one rank, at least 2; got shapes (1, 3, 8, 8) and (3, 3, 3) (HERE)."),
    (lambda: conv_general_dilated(X, W.astype(np.float16), (1, 1), "SAME"), errors.DtypeError,
     f"{CALL} operands of one dtype; got f32[1,3,8,8], f16[4,3,3,3] (HERE). Convert one with "
     "`.astype(...)`."),
    (lambda: conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NHW", "HWIO", "NHWC")),
     errors.ArgumentError,
     f"{CALL} dimension_numbers as three strings or permutations of 4 axes, or None; got ('NHW', "
     "'HWIO', 'NHWC') (HERE). Write for example (\"NHWC\", \"HWIO\", \"NHWC\")."),
    (lambda: conv_general_dilated(X, W, (1, 1), "SAME", precision="F32_F32_F32"),
     errors.ArgumentError,
     f"{CALL} precision to be a lax.Precision or its name, or a pair of these; got 'F32_F32_F32' "
     "(HERE)."),
    (lambda: conv_general_dilated(X, W, (1, 1), "SAME", batch_group_count=2), errors.ShapeError,
     f"{CALL} output features (and batch) divisible by the number of groups; got 4 output "
     "features, "
     "batch 1, 2 groups (HERE)."),
    (lambda: padtype_to_pads((3,), (2,), (1,), "FULL"), errors.ArgumentError,
     "[padtype_to_pads] expected padding 'VALID', 'SAME' or 'SAME_LOWER', or a pair for each "
     "spatial "
     "axis; got 'FULL' (HERE)."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED)
def test_refused(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    where = f"test_convolution.py:{call.__code__.co_firstlineno}"
    assert str(caught.value) == message.replace("HERE", where)
