"""functrax: composable transformations of Python functions, compiled by XLA."""

from functrax import dlpack as dlpack
from functrax import numpy as numpy
from functrax import sharding as sharding
from functrax import stages as stages
from functrax import tree as tree
from functrax.core.config import config as config
from functrax.core.trace import Array as Array
from functrax.core.trace import install_evaluator as _install_evaluator
from functrax.core.trace import install_operators as _install_operators
from functrax.numpy.operators import OPERATORS as _OPERATORS
from functrax.runtime.devices import Device as Device
from functrax.runtime.devices import device_count as device_count
from functrax.runtime.devices import devices as devices
from functrax.runtime.devices import local_devices as local_devices
from functrax.runtime.dispatch import convert as _convert
from functrax.runtime.dispatch import evaluate as _evaluate
from functrax.runtime.transfer import block_until_ready as block_until_ready
from functrax.runtime.transfer import device_get as device_get
from functrax.transforms.flat import ShapeDtypeStruct as ShapeDtypeStruct
from functrax.transforms.grad import grad as grad
from functrax.transforms.jacobian import hessian as hessian
from functrax.transforms.jacobian import jacfwd as jacfwd
from functrax.transforms.jacobian import jacrev as jacrev
from functrax.transforms.forward import jvp as jvp
from functrax.transforms.grad import linear_transpose as linear_transpose
from functrax.transforms.forward import linearize as linearize
from functrax.transforms.grad import value_and_grad as value_and_grad
from functrax.transforms.grad import vjp as vjp
from functrax.transforms.jit import eval_shape as eval_shape
from functrax.transforms.jit import jit as jit
from functrax.transforms.jit import make_jaxpr as make_jaxpr
from functrax.transforms.placement import device_put as device_put
from functrax.transforms.vmap import vmap as vmap

_install_evaluator(_evaluate, _convert)
_install_operators(_OPERATORS)
