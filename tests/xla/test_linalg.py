import numpy as np
import pytest

from functrax.errors import DtypeError
from functrax.xla import custom_call, linalg, mlir

INFO = np.dtype("int32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_a_batch_of_cholesky_factors(dtype, compile_on_cpu, context, put, read):
    dtype = np.dtype(dtype)
    linalg.load_lapack()
    matrix, info = ((2, 3, 3), dtype), ((2,), INFO)
    attributes = custom_call.custom_call_attributes(
        context,
        linalg.lapack_target("potrf", dtype),
        operand_layouts=[custom_call.column_major(3)],
        result_layouts=[custom_call.column_major(3), custom_call.row_major(1)],
        parameters={"uplo": context.ui8(ord("L"))},
        aliases={0: 0},
    )

    def body(a):
        kinds = [context.tensor_type(*matrix), context.tensor_type(*info)]
        return mlir.operation(context, "stablehlo.custom_call", kinds, [a], attributes).results

    root = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(dtype)
    a = root @ root.conj().swapaxes(1, 2) + np.eye(3, dtype=dtype)
    factor, status = compile_on_cpu([matrix], [matrix, info], body)([put(a)])
    assert read(status, *info).tolist() == [0, 0]
    lower = np.tril(read(factor, *matrix))
    np.testing.assert_allclose(lower @ lower.conj().swapaxes(1, 2), a, rtol=1e-4)


@pytest.mark.parametrize(
    ("routine", "dtype", "target"),
    [
        ("potrf", "float32", "lapack_spotrf_ffi"),
        ("orgqr", "float64", "lapack_dorgqr_ffi"),
        ("orgqr", "complex64", "lapack_cungqr_ffi"),
        ("syevd", "complex128", "lapack_zheevd_ffi"),
    ],
)
def test_targets(routine, dtype, target):
    assert linalg.lapack_target(routine, np.dtype(dtype)) == target


def test_every_target_exists():
    from jaxlib import lapack

    names = {name for name, *_ in lapack.registrations()["cpu"]}
    routines = (
        "potrf getrf geqrf orgqr ormqr geqp3 gesdd gesvd syevd geev gees gehrd sytrd trsm gtsv"
    )
    for routine in routines.split():
        for dtype in ("float32", "float64", "complex64", "complex128"):
            assert linalg.lapack_target(routine, np.dtype(dtype)) in names


def test_no_lapack_for_small_floats():
    with pytest.raises(DtypeError) as caught:
        linalg.lapack_target("potrf", np.dtype("float16"))
    assert caught.value.got == "dtype float16"


def test_layouts():
    assert custom_call.row_major(3) == (2, 1, 0)
    assert custom_call.column_major(2) == (0, 1)
    assert custom_call.column_major(4) == (2, 3, 1, 0)


def test_one_result_aliases_as_a_whole(context):
    attributes = custom_call.custom_call_attributes(context, "f", [(0,)], [(0,)], aliases={0: 0})
    assert "output_tuple_indices = []" in str(attributes["output_operand_aliases"])
