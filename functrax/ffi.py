"""Compiled functions (C++, CUDA) as operations, by XLA's foreign function interface.

A library is compiled with the headers in `include_dir`, loaded with `ctypes`, and its handlers are
registered; `ffi_call` then calls them inside and outside of transformations::

    library = ctypes.CDLL("./kernels.so")
    ffi.register_ffi_target("my_kernel", ffi.pycapsule(library.MyKernel))
    y = ffi.ffi_call("my_kernel", x, vmap_method="broadcast_all")(x, eps=np.float32(1e-6))

What a compiled function computes has no derivative. `custom_jvp` and `custom_vjp` around the call
give it one. Or make a primitive of it, with a rule for each transformation. This one is LAPACK's
solver of triangular systems, which is in jaxlib; it solves A x = b, or with ``trans_x`` Aᵀ x = b:

>>> import numpy as np
>>> from functrax import extend, ffi
>>> from functrax.testing import check_grads
>>> from jaxlib.cpu import _lapack
>>> _lapack.initialize()
>>> name = "lapack_strsm_ffi"
>>> ffi.register_ffi_target(name, _lapack.registrations()[name])

>>> def solve(a, b, trans_x="N"):
...     letters = dict(side="L", uplo="L", trans_x=trans_x, diag="N")
...     params = {key: np.uint8(ord(letter)) for key, letter in letters.items()}
...     return extend.bind(solve_p, a, b, **params)[0]
>>> def jvp(primals, tangents, *, trans_x, **_):
...     (a, b), (ta, tb), letter = primals, tangents, chr(trans_x)
...     x = solve(a, b, letter)
...     right = jnp.zeros_like(b) if tb is None else tb
...     if ta is not None:
...         change = jnp.tril(ta)
...         right = right - (change if letter == "N" else change.T) @ x
...     return [x], [solve(a, right, letter)]
>>> def transpose(cotangents, a, b, *, trans_x, **_):
...     return [None, solve(a, cotangents[0], "T" if chr(trans_x) == "N" else "N")]
>>> columns = (0, 1)
>>> solve_p = extend.declare(
...     "solve_triangular",
...     abstract_eval=lambda a, b, **_: (b,),
...     jvp=jvp,
...     transpose=transpose,
...     batch=extend.Refusal("not written", "Map it by hand."),
...     lower=ffi.ffi_lowering(
...         name,
...         operand_layouts=[columns, columns],
...         result_layouts=[columns],
...         operand_output_aliases={1: 0},
...     ),
... )

>>> a, b = jnp.array([[2.0, 0.0], [1.0, 4.0]]), jnp.array([[2.0], [9.0]])
>>> functrax.jit(solve)(a, b)
Array([[1.],
       [2.]], dtype=float32)
>>> functrax.grad(lambda b: solve(a, b).sum())(b)
Array([[0.375],
       [0.25 ]], dtype=float32)
>>> check_grads(solve, (a, b), order=2)
"""

from typing import Any

from functrax.transforms.ffi import ffi_call, ffi_lowering
from functrax.xla.custom_call import include_dir, pycapsule, register_target, register_type

__all__ = [
    "ffi_call",
    "ffi_lowering",
    "include_dir",
    "pycapsule",
    "register_ffi_target",
    "register_ffi_type",
]


def __dir__() -> list[str]:
    return __all__


def register_ffi_target(
    name: str, fn: Any, platform: str = "cpu", api_version: int = 1, *, traits: int = 0
) -> None:
    """Make a compiled function known to the compiler, for this process.

    Args:
        name: the name that `ffi_call` calls it by. A name is registered once for each platform;
            the same function again is ignored.
        fn: a PyCapsule with the address of a handler, see `pycapsule`; or a dictionary of such by
            stage: ``"instantiate"``, ``"prepare"``, ``"initialize"``, ``"execute"``.
        platform: ``"cpu"``, or ``"gpu"`` (also ``"CUDA"``), registered when that plug-in is loaded.
        api_version: 1 for the typed FFI, 0 for functions of the older conventions.
        traits: what else XLA may assume, as in ``jaxlib``'s ``CustomCallTargetTraits``.

    Raises:
        ArgumentError: if it is not a function, or the name has another one; for other platforms.

    Example:
        >>> from functrax import ffi
        >>> from jaxlib.cpu import _lapack
        >>> ffi.register_ffi_target("lapack_sgetrf_ffi",
        ...                         _lapack.registrations()["lapack_sgetrf_ffi"])
    """
    register_target(name, fn, platform, api_version, traits)


def register_ffi_type(name: str, type_registration: Any, platform: str = "cpu") -> None:
    """Make a type known that handlers keep their state in from one call to the next.

    Args:
        name: the name of the type.
        type_registration: a dictionary of two PyCapsules, of the addresses of its
            ``XLA_FFI_TypeId``, ``"type_id"``, and ``XLA_FFI_TypeInfo``, ``"type_info"``.
        platform: as in `register_ffi_target`.

    Raises:
        ArgumentError: if it is not such a dictionary, or the name has another type; for other
            platforms.

    Example:
        >>> from functrax import ffi
        >>> ffi.register_ffi_type("my_state", {})
        Traceback (most recent call last):
        functrax.errors.ArgumentError: ...
    """
    register_type(name, type_registration, platform)
