"""Functions with their own derivatives, with the names of ``jax.custom_derivatives``."""

from functrax.core.public import directory as _directory
from functrax.transforms.closures import closure_convert as closure_convert
from functrax.transforms.closures import custom_gradient as custom_gradient
from functrax.transforms.custom_jvp import custom_jvp as custom_jvp
from functrax.transforms.custom_jvp import custom_jvp_call_p as custom_jvp_call_p
from functrax.transforms.custom_vjp import custom_vjp as custom_vjp
from functrax.transforms.linear_call import linear_call as linear_call
from functrax.transforms.symbolic import CustomVJPPrimal as CustomVJPPrimal
from functrax.transforms.symbolic import SymbolicZero as SymbolicZero
from functrax.transforms.symbolic import (
    custom_vjp_primal_tree_values as custom_vjp_primal_tree_values,
)
from functrax.transforms.symbolic import zero_from_primal as zero_from_primal
from functrax.transforms.vjp_calls import custom_vjp_call_p as custom_vjp_call_p

__dir__ = _directory(__name__)
