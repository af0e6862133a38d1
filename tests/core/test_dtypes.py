"""Types of numbers, compared with JAX over every pair of dtypes."""

import itertools
import pickle
import re

import jax
import jax.dtypes
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import functrax.dtypes as public
from functrax.core import dtypes
from functrax.core.config import config
from functrax.errors import ArgumentError, DtypeError, IntegerOverflowError, KeyTypeError

WIDE = {dtypes.int64, dtypes.uint64, dtypes.float64, dtypes.complex128}
MODES = [(x64, mode) for x64 in (False, True) for mode in ("standard", "strict")]


class Value:
    """What both systems take for an array: a dtype and a weakness."""

    def __init__(self, dtype, weak):
        self.dtype, self.weak_type = dtype, weak

    @property
    def aval(self):
        return self

    def __repr__(self):
        return f"{self.dtype}{'*' if self.weak_type else ''}"


# JAX has no weak integers of 2 and 4 bits, and stumbles over them.
TINY = {dtypes.int2, dtypes.uint2, dtypes.int4, dtypes.uint4}
VALUES = [
    Value(dtype, weak)
    for dtype in dtypes.NUMBERS
    for weak in ((False,) if dtype in TINY else (False, True))
]


def outcome(function, *values):
    try:
        return function(*values, return_weak_type_flag=True)
    except (jax.dtypes.TypePromotionError, public.TypePromotionError):
        return "no common type"


def message(error):
    return re.sub(r"\(test_dtypes\.py:\d+\)", "(here)", str(error.value))


# ---- promotion


@pytest.mark.parametrize(("x64", "mode"), MODES)
def test_pairs_promote_as_in_jax(x64, mode):
    # Without x64, JAX makes 64-bit dtypes narrow before it promotes them; here they may exist.
    values = [value for value in VALUES if x64 or value.dtype not in WIDE]
    with (
        jax.enable_x64(x64),
        jax.numpy_dtype_promotion(mode),
        config.scope(enable_x64=x64, numpy_dtype_promotion=mode),
    ):
        for pair in itertools.product(values, repeat=2):
            ours, theirs = (
                outcome(public.result_type, *pair),
                outcome(jax.dtypes.result_type, *pair),
            )
            assert ours == theirs, pair


@pytest.mark.parametrize(("x64", "mode"), MODES)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5))
def test_many_promote_as_in_jax(x64, mode, values):
    if not x64:
        values = [value for value in values if value.dtype not in WIDE]
    if not values:
        return
    with (
        jax.enable_x64(x64),
        jax.numpy_dtype_promotion(mode),
        config.scope(enable_x64=x64, numpy_dtype_promotion=mode),
    ):
        theirs = outcome(jax.dtypes.result_type, *values)
        assert outcome(public.result_type, *values) == theirs


@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4), st.randoms())
def test_promotion_does_not_depend_on_order(values, random):
    shuffled = random.sample(values, len(values))
    assert outcome(public.result_type, *values) == outcome(public.result_type, *shuffled)


@pytest.mark.parametrize("x64", [False, True])
def test_promote_types_as_in_jax(x64):
    kinds = [d for d in (*dtypes.NUMBERS, int, float, complex) if x64 or d not in WIDE]
    with jax.enable_x64(x64), config.scope(enable_x64=x64):
        for a, b in itertools.product(kinds, repeat=2):
            try:
                theirs = jnp.promote_types(a, b)
            except jax.dtypes.TypePromotionError:
                with pytest.raises(public.TypePromotionError):
                    public.promote_types(a, b)
            else:
                # JAX gives 64 bits for bool with int, whatever its default.
                theirs = jax.dtypes.canonicalize_dtype(theirs)
                assert public.promote_types(a, b) == theirs, (a, b)


def test_promote_keeps_what_agrees():
    assert dtypes.promote((dtypes.int4, dtypes.int4), (False, False)) == (dtypes.int4, False)
    assert dtypes.promote((dtypes.float0,) * 2, (False, False)) == (dtypes.float0, False)
    key = dtypes.KeyType("fry", (2,))
    assert dtypes.promote((key, key, key), (False,) * 3) == (key, False)
    assert dtypes.promote((dtypes.int16,), (True,)) == (dtypes.int16, True)
    assert dtypes.promote((dtypes.bool_,), (True,)) == (dtypes.bool_, False)


def test_promote_follows_the_configuration_at_once():
    mixed = (dtypes.int32, dtypes.float32), (False, False)
    assert dtypes.promote(*mixed) == (dtypes.float32, False)
    with config.scope(numpy_dtype_promotion="strict"), pytest.raises(public.TypePromotionError):
        dtypes.promote(*mixed)
    pair = (dtypes.uint32, dtypes.int32), (False, False)
    assert dtypes.promote(*pair) == (dtypes.int32, False)
    with config.scope(enable_x64=True):
        assert dtypes.promote(*pair) == (dtypes.int64, False)


PROMOTION_ERRORS = [
    (
        ("float8_e5m2", "float32"),
        "standard",
        "[add] expected dtypes that promote to a common one; got float8_e5m2, float32 (here). "
        "Numbers of 8 bits and fewer are not promoted: convert one with astype.",
    ),
    (
        ("int32", "float32"),
        "strict",
        "[add] expected dtypes that promote to a common one; got int32, float32 (here). "
        "Convert with astype, or set numpy_dtype_promotion to 'standard'.",
    ),
]


@pytest.mark.parametrize(("names", "mode", "expected"), PROMOTION_ERRORS)
def test_promotion_errors(names, mode, expected):
    with (
        config.scope(numpy_dtype_promotion=mode),
        pytest.raises(public.TypePromotionError) as error,
    ):
        dtypes.promote(tuple(map(np.dtype, names)), (False, False), "add")
    assert message(error) == expected
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, TypeError)


def test_keys_do_not_promote():
    key = dtypes.KeyType("fry", (2,))
    with pytest.raises(KeyTypeError) as error:
        dtypes.promote((key, dtypes.int32), (False, True), "add")
    assert message(error) == (
        "[add] expected PRNG keys of one kind, or only numbers; got key<fry>, int32 (here). "
        "random.key_data(keys) gives the bits of keys as numbers."
    )


def test_float0_does_not_promote():
    with pytest.raises(public.TypePromotionError):
        dtypes.promote((dtypes.float0, dtypes.int32), (False, False))


# ---- arguments of result_type

SAME_ARGUMENTS = [
    (1,), (1.5,), (True,), (1j,), (None,), (int,), (bool,), (1, 2.5), (np.float32(1), 2), (True, 1),
    (np.ones(2, "int8"), 1.5), (np.ones(2, "int8"), np.uint8(1)), ("bfloat16", 1), (1, 1j),
    (np.dtype("int8"), "uint8"), (ml_dtypes.bfloat16, np.float16), (np.float64(2.0),),
    (np.ones(3), np.ones(3, "int64")), (np.float64(1), "bfloat16"), (jnp.int8, jnp.float16),
]  # fmt: skip


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("args", SAME_ARGUMENTS, ids=repr)
def test_result_type_as_in_jax(args, x64):
    with jax.enable_x64(x64), config.scope(enable_x64=x64):
        assert outcome(public.result_type, *args) == outcome(jax.dtypes.result_type, *args)


def test_result_type_gives_the_width_asked_for():
    assert public.result_type("float64") == dtypes.float64
    assert public.result_type(jax.ShapeDtypeStruct((2,), np.int64)) == dtypes.int64
    assert public.result_type(np.ones(3)) == dtypes.float32


def test_result_type_of_subclasses_of_numbers():
    import enum

    class Axis(enum.IntEnum):
        X = 1

    assert public.result_type(Axis.X, return_weak_type_flag=True) == (dtypes.int32, False)
    assert public.result_type(Axis.X) == jax.dtypes.result_type(Axis.X)


def test_result_type_errors():
    with pytest.raises(ArgumentError) as error:
        public.result_type()
    assert message(error) == "[result_type] expected at least one array or dtype; got none (here)."
    with pytest.raises(DtypeError) as error:
        public.result_type([1, 2])
    assert message(error) == "[result_type] expected a dtype; got [1, 2] (here)."
    with pytest.raises(DtypeError) as error:
        public.result_type(np.array(["a"]))
    assert message(error) == (
        "[result_type] expected a dtype of numbers or booleans; got str32 (here). "
        "Arrays hold numbers and booleans; use NumPy or a pytree for other things."
    )


# ---- what is asked for


@pytest.mark.parametrize("dtype", dtypes.NUMBERS, ids=str)
def test_canonicalize_gives_what_is_asked_for(dtype):
    for form in (dtype, dtype.type, np.dtype(dtype.type), pickle.loads(pickle.dumps(dtype))):
        assert dtypes.canonicalize(form) is dtype
    if dtype.name not in ("bool",):
        assert dtypes.canonicalize(dtype.name) is dtype
    if dtype.isbuiltin == 1:
        assert dtypes.canonicalize(dtype.newbyteorder(">")) is dtype
        assert dtypes.canonicalize(dtype.str) is dtype


def test_canonicalize_takes_scalar_types_with_a_dtype():
    assert dtypes.canonicalize(jnp.float32) == dtypes.float32
    assert dtypes.canonicalize(jnp.int4) == dtypes.int4
    assert dtypes.canonicalize(dtypes.float0) == dtypes.float0
    key = dtypes.KeyType("fry", (2,))
    assert dtypes.canonicalize(key) is key


@pytest.mark.parametrize("x64", [False, True])
def test_kinds_without_a_width_get_the_default(x64):
    with jax.enable_x64(x64), config.scope(enable_x64=x64):
        for kind in (bool, int, float, complex):
            assert dtypes.canonicalize(kind) == jnp.zeros(0, kind).dtype
            assert dtypes.canonicalize(kind.__name__) == dtypes.canonicalize(kind)
            assert dtypes.python_scalar_dtype(kind) == dtypes.canonicalize(kind)
        assert dtypes.canonicalize("uint") == dtypes.uint_dtype()
        for dtype in (*dtypes.NUMBERS, dtypes.float0):
            assert dtypes.default_of(dtype) == jax.dtypes.canonicalize_dtype(dtype)
            assert public.canonicalize_dtype(dtype) == jax.dtypes.canonicalize_dtype(dtype)
    assert dtypes.int_dtype() == dtypes.int32
    assert dtypes.uint_dtype() == dtypes.uint32
    assert dtypes.float_dtype() == dtypes.float32
    assert dtypes.complex_dtype() == dtypes.complex64
    assert dtypes.default_of_kind(dtypes.bfloat16) == dtypes.float32
    assert dtypes.default_of_kind(dtypes.bool_) == dtypes.bool_


NOT_DTYPES = [
    (None, "None", ""),
    ("floaty", "'floaty'", ""),
    ([("a", 1), 3], "[('a', 1), 3]", ""),
    (3.5, "3.5", ""),
    (np.ones(2), "array([1., 1.])", " Write x.dtype for the dtype of an array x."),
]


@pytest.mark.parametrize(("given", "shown", "cure"), NOT_DTYPES, ids=repr)
def test_canonicalize_refuses_what_is_no_dtype(given, shown, cure):
    with pytest.raises(DtypeError) as error:
        dtypes.canonicalize(given, "zeros")
    assert message(error) == f"[zeros] expected a dtype; got {shown} (here).{cure}"


@pytest.mark.parametrize(
    "given", [object, str, "S3", "datetime64[s]", np.longdouble, "V8", "f4,i4"]
)
def test_canonicalize_refuses_what_arrays_cannot_hold(given):
    with pytest.raises(DtypeError) as error:
        dtypes.canonicalize(given)
    assert message(error) == (
        f"[dtype] expected a dtype of numbers or booleans; got {np.dtype(given).name} (here). "
        "Arrays hold numbers and booleans; use NumPy or a pytree for other things."
    )


# ---- one dtype from another


@pytest.mark.parametrize("dtype", dtypes.NUMBERS, ids=str)
def test_predicates_agree_with_numpy_words(dtype):
    assert dtypes.is_bool(dtype) == jnp.issubdtype(dtype, np.bool_)
    assert dtypes.is_integer(dtype) == jnp.issubdtype(dtype, np.integer)
    assert dtypes.is_unsigned(dtype) == jnp.issubdtype(dtype, np.unsignedinteger)
    assert dtypes.is_floating(dtype) == jnp.issubdtype(dtype, np.floating)
    assert dtypes.is_complex(dtype) == jnp.issubdtype(dtype, np.complexfloating)
    assert dtypes.is_inexact(dtype) == jnp.issubdtype(dtype, np.inexact)
    assert not dtypes.is_extended(dtype)
    assert dtypes.to_real(dtype) == (jnp.finfo(dtype).dtype if dtypes.is_complex(dtype) else dtype)
    assert dtypes.tangent_dtype(dtype) == (dtype if dtypes.is_inexact(dtype) else jax.float0)


@pytest.mark.parametrize("dtype", dtypes.NUMBERS, ids=str)
def test_conversions_agree_with_jax_internals(dtype):
    theirs = pytest.importorskip("jax._src.dtypes")
    assert dtypes.short_name(dtype) == theirs.short_dtype_name(dtype)
    if dtype not in (dtypes.int2, dtypes.uint2):  # JAX has no rule for these and leaves them
        assert dtypes.to_inexact(dtype) == theirs.to_inexact_dtype(dtype)
        assert dtypes.to_complex(dtype) == theirs.to_complex_dtype(dtype)


def test_predicates_of_keys_are_false():
    key = dtypes.KeyType("fry", (2,))
    predicates = (
        *(dtypes.is_bool, dtypes.is_integer, dtypes.is_unsigned),
        *(dtypes.is_floating, dtypes.is_complex, dtypes.is_inexact),
    )
    assert [predicate(key) for predicate in predicates] == [False] * 6
    assert dtypes.is_extended(key)
    assert dtypes.tangent_dtype(key) == dtypes.float0
    assert dtypes.short_name(key) == repr(key) == str(key) == key.name == "key<fry>"
    assert dtypes.short_name(dtypes.float0) == "float0"


def test_key_types_are_one_per_name():
    key = dtypes.KeyType("fry", (2,))
    assert dtypes.KeyType("fry", (2,)) is key
    assert pickle.loads(pickle.dumps(key)) is key
    assert key != dtypes.KeyType("rbg", (4,))
    assert key.key_shape == (2,)
    with pytest.raises(DtypeError) as error:
        dtypes.KeyType("fry", (4,))
    assert message(error) == (
        "[KeyType] expected key_shape (2,), as key<fry> has already; got (4,) (here). "
        "Give the other generator another name."
    )


# ---- integers that do not fit

OVERFLOWS = [
    (2**31, "int32", "2147483648", 'Ask for dtype="int64", which holds it.'),
    (-1, "uint8", "-1", 'Ask for dtype="int32", which holds it.'),
    (2**63, "int64", "9223372036854775808", 'Ask for dtype="uint64", which holds it.'),
    (2**64, "int64", str(2**64), "No integer dtype holds it; ask for a floating-point one."),
    (np.array([1, 2**40]), "int32", str(2**40), 'Ask for dtype="int64", which holds it.'),
    (np.array([-5, 300]), "uint8", "-5", 'Ask for dtype="int32", which holds it.'),
    (np.uint64(2**63), "int64", str(2**63), 'Ask for dtype="uint64", which holds it.'),
    (np.array([7, -8], ml_dtypes.int4), "uint4", "-8", 'Ask for dtype="int32", which holds it.'),
    (np.array([2**40], ">i8"), "int32", str(2**40), 'Ask for dtype="int64", which holds it.'),
    (8, "int4", "8", 'Ask for dtype="int32", which holds it.'),
]


@pytest.mark.parametrize(("value", "name", "shown", "cure"), OVERFLOWS, ids=repr)
def test_integers_that_do_not_fit(value, name, shown, cure):
    limits = jnp.iinfo(name)
    with pytest.raises(IntegerOverflowError) as error:
        dtypes.check_fits(value, np.dtype(name), "asarray")
    assert message(error) == (
        f"[asarray] expected integers from {limits.min} to {limits.max}, which {name} holds; "
        f"got {shown} (here). {cure}"
    )
    assert isinstance(error.value, OverflowError)


def test_integers_that_fit():
    for dtype in dtypes.SIGNED + dtypes.UNSIGNED:
        limits = jnp.iinfo(dtype)
        dtypes.check_fits(int(limits.min), dtype, "f")
        dtypes.check_fits(int(limits.max), dtype, "f")
        ends = np.array([int(limits.min)]).astype(dtype), np.array([limits.max], dtype)
        dtypes.check_fits(np.concatenate(ends), dtype, "f")
        dtypes.check_fits(np.zeros(0, np.int64), dtype, "f")
    dtypes.check_fits(2**70, dtypes.float32, "f")
    dtypes.check_fits(np.array([1e30]), dtypes.int32, "f")
    dtypes.check_fits(np.array([True]), dtypes.int4, "f")
    dtypes.check_fits(True, dtypes.int4, "f")


# ---- NumPy's questions

FAMILIES = [
    *(np.generic, np.number, np.integer, np.signedinteger, np.unsignedinteger, np.inexact),
    *(np.floating, np.complexfloating, np.bool_, np.character, np.flexible),
]


def test_issubdtype_as_in_jax():
    forms = [*dtypes.NUMBERS, *(d.type for d in dtypes.NUMBERS), *FAMILIES, int, float, "int8"]
    for a, b in itertools.product(forms, repeat=2):
        assert public.issubdtype(a, b) == jnp.issubdtype(a, b), (a, b)


def test_issubdtype_of_keys_as_in_jax():
    ours, theirs = dtypes.KeyType("fry", (2,)), jax.random.key(0).dtype
    for family in FAMILIES:
        assert public.issubdtype(ours, family) == jnp.issubdtype(theirs, family), family
        assert not public.issubdtype(np.float32, public.prng_key)
    assert public.issubdtype(ours, public.prng_key)
    assert public.issubdtype(ours, public.extended)
    assert public.issubdtype(public.prng_key, public.extended)
    assert public.issubdtype(ours, ours)
    assert not public.issubdtype(np.float32, ours)
    assert not public.issubdtype(ours, np.float32)


KINDS = ["bool", "signed integer", "unsigned integer", "integral", "real floating"]
KINDS += ["complex floating", "numeric"]


def test_isdtype_as_in_jax():
    kinds = [*KINDS, "float32", np.int8, ("bool", "integral"), ("int4", "complex floating")]
    for dtype, kind in itertools.product(dtypes.NUMBERS, kinds):
        assert public.isdtype(dtype, kind) == jnp.isdtype(dtype, kind), (dtype, kind)
    assert not any(public.isdtype(dtypes.KeyType("fry", (2,)), kind) for kind in KINDS)
    with pytest.raises(DtypeError) as error:
        public.isdtype("int8", "floating")
    assert message(error) == "[isdtype] expected a dtype; got 'floating' (here)."


def test_limits_as_in_jax():
    for dtype in dtypes.FLOATS + dtypes.COMPLEXES:
        ours, theirs = public.finfo(dtype), jnp.finfo(dtype)
        for name in ("bits", "eps", "max", "min", "tiny", "nmant", "dtype"):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert a == b or (a != a and b != b), (dtype, name)
    for dtype in dtypes.SIGNED + dtypes.UNSIGNED:
        ours, theirs = public.iinfo(dtype), jnp.iinfo(dtype)
        assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    assert public.finfo(1.5).bits == public.finfo(float).bits == 32
    assert public.iinfo(np.ones(2, "int8")).max == 127
    for dtype in dtypes.NUMBERS:
        if dtype != dtypes.bool_:
            assert public.itemsize_bits(dtype) == jax.dtypes.itemsize_bits(dtype)
    assert public.itemsize_bits("bool") == jax.dtypes.itemsize_bits("bool")


def test_limits_errors():
    with pytest.raises(DtypeError) as error:
        public.finfo("int8")
    assert message(error) == (
        "[finfo] expected a floating or complex dtype; got int8 (here). "
        "iinfo gives the limits of integers."
    )
    with pytest.raises(DtypeError) as error:
        public.iinfo(1.5)
    assert message(error) == (
        "[iinfo] expected an integer dtype; got float32 (here). finfo gives the limits of floats."
    )
    with pytest.raises(DtypeError) as error:
        public.itemsize_bits(dtypes.KeyType("fry", (2,)))
    assert message(error) == "[itemsize_bits] expected a dtype of numbers; got key<fry> (here)."
    with pytest.raises(DtypeError) as error:
        public.canonicalize_dtype(dtypes.KeyType("fry", (2,)))
    assert message(error) == (
        "[canonicalize_dtype] expected a dtype of numbers; got key<fry> (here). "
        "Pass allow_extended_dtype=True."
    )


def test_scalar_type_of_as_in_jax():
    with jax.enable_x64(True):
        for dtype in dtypes.NUMBERS:
            assert public.scalar_type_of(dtype) is jax.dtypes.scalar_type_of(dtype)
    with pytest.raises(DtypeError) as error:
        public.scalar_type_of(dtypes.KeyType("fry", (2,)))
    assert message(error) == "[scalar_type_of] expected a dtype of numbers; got key<fry> (here)."


def test_every_name_of_jax_is_here():
    for name in dir(jax.dtypes):
        assert name.startswith("_") or hasattr(public, name), name
