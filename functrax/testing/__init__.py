"""Derivatives against finite differences, with the names of ``jax.test_util``.

The numeric derivative is taken in float64 (complex128), whatever the dtype of the arguments: the
function is called on its arguments made wider if it takes them and gives the same value, and on the
arguments themselves only if not. So it tells a wrong rule from rounding, in bfloat16 too. The
derivative that is checked is always the one at the arguments as they are.

`check_grads` asks for the derivatives itself; `check_jvp` and `check_vjp` take them from you.
"""

from functrax.core.public import directory as _directory
from functrax.testing.gradients import check_grads as check_grads
from functrax.testing.gradients import check_jvp as check_jvp
from functrax.testing.gradients import check_vjp as check_vjp

__dir__ = _directory(__name__)
