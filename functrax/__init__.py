"""functrax: composable transformations of Python functions, compiled by XLA."""

from functrax.core.collector import importing as _importing

with _importing():
    from functrax import checking as checking
    from functrax import custom_batching as custom_batching
    from functrax import custom_derivatives as custom_derivatives
    from functrax import debug as debug
    from functrax import dlpack as dlpack
    from functrax import dtypes as dtypes
    from functrax import errors as errors
    from functrax import experimental as experimental
    from functrax import ffi as ffi
    from functrax import lax as lax
    from functrax import nn as nn
    from functrax import numpy as numpy
    from functrax import random as random
    from functrax import sharding as sharding
    from functrax import stages as stages
    from functrax import tree as tree
    from functrax import tree_util as tree_util
    from functrax.core.config import check_tracer_leaks as check_tracer_leaks
    from functrax.core.config import checking_leaks as checking_leaks
    from functrax.core.config import config as config
    from functrax.core.config import debug_index as debug_index
    from functrax.core.config import debug_infs as debug_infs
    from functrax.core.config import debug_key_reuse as debug_key_reuse
    from functrax.core.config import debug_nans as debug_nans
    from functrax.core.config import default_device as default_device
    from functrax.core.config import default_matmul_precision as default_matmul_precision
    from functrax.core.config import default_prng_impl as default_prng_impl
    from functrax.core.config import enable_checks as enable_checks
    from functrax.core.config import enable_custom_prng as enable_custom_prng
    from functrax.core.config import enable_x64 as enable_x64
    from functrax.core.config import explain_cache_misses as explain_cache_misses
    from functrax.core.config import log_compiles as log_compiles
    from functrax.core.config import no_implicit_comms as no_implicit_comms
    from functrax.core.config import numpy_dtype_promotion as numpy_dtype_promotion
    from functrax.core.config import numpy_rank_promotion as numpy_rank_promotion
    from functrax.core.config import threefry_partitionable as threefry_partitionable
    from functrax.core.config import transfer_guard as transfer_guard
    from functrax.core.config import (
        transfer_guard_device_to_device as transfer_guard_device_to_device,
    )
    from functrax.core.config import transfer_guard_device_to_host as transfer_guard_device_to_host
    from functrax.core.config import transfer_guard_host_to_device as transfer_guard_host_to_device
    from functrax.core.public import directory as _directory
    from functrax.core.trace import Array as Array
    from functrax.core.trace import install_evaluator as _install_evaluator
    from functrax.core.trace import install_operators as _install_operators
    from functrax.numpy.operators import OPERATORS as _OPERATORS
    from functrax.runtime.assembly import make_array_from_callback as make_array_from_callback
    from functrax.runtime.assembly import (
        make_array_from_process_local_data as make_array_from_process_local_data,
    )
    from functrax.runtime.assembly import (
        make_array_from_single_device_arrays as make_array_from_single_device_arrays,
    )
    from functrax.runtime.compile import timings as timings
    from functrax.runtime.devices import Device as Device
    from functrax.runtime.devices import default_backend as default_backend
    from functrax.runtime.devices import device_count as device_count
    from functrax.runtime.devices import devices as devices
    from functrax.runtime.devices import local_device_count as local_device_count
    from functrax.runtime.devices import local_devices as local_devices
    from functrax.runtime.devices import process_count as process_count
    from functrax.runtime.devices import process_index as process_index
    from functrax.runtime.devices import require as require
    from functrax.runtime.devices import topology as topology
    from functrax.runtime.dispatch import convert as _convert
    from functrax.runtime.dispatch import evaluate as _evaluate
    from functrax.runtime.mesh import make_mesh as make_mesh
    from functrax.runtime.transfer import block_until_ready as block_until_ready
    from functrax.runtime.transfer import device_get as device_get
    from functrax.sharding import NamedSharding as NamedSharding
    from functrax.sharding import PartitionSpec as P  # noqa: F401 # pyright: ignore[reportUnusedImport]
    from functrax.sharding import set_mesh as set_mesh
    from functrax.transforms.callbacks import effects_barrier as effects_barrier
    from functrax.transforms.callbacks import pure_callback as pure_callback
    from functrax.transforms.closures import closure_convert as closure_convert
    from functrax.transforms.closures import custom_gradient as custom_gradient
    from functrax.transforms.comms import explain_comms as explain_comms
    from functrax.transforms.constraint import reshard as reshard
    from functrax.transforms.custom_jvp import custom_jvp as custom_jvp
    from functrax.transforms.custom_vjp import custom_vjp as custom_vjp
    from functrax.transforms.flat import ShapeDtypeStruct as ShapeDtypeStruct
    from functrax.transforms.forward import jvp as jvp
    from functrax.transforms.forward import linearize as linearize
    from functrax.transforms.grad import grad as grad
    from functrax.transforms.grad import linear_transpose as linear_transpose
    from functrax.transforms.grad import value_and_grad as value_and_grad
    from functrax.transforms.grad import vjp as vjp
    from functrax.transforms.inspect import eval_shape as eval_shape
    from functrax.transforms.inspect import make_jaxpr as make_jaxpr
    from functrax.transforms.inspect import typeof as typeof
    from functrax.transforms.jacobian import hessian as hessian
    from functrax.transforms.jacobian import jacfwd as jacfwd
    from functrax.transforms.jacobian import jacrev as jacobian  # noqa: F401 # pyright: ignore[reportUnusedImport]
    from functrax.transforms.jacobian import jacrev as jacrev
    from functrax.transforms.jit import clear_caches as clear_caches
    from functrax.transforms.jit import jit as jit
    from functrax.transforms.placement import device_put as device_put
    from functrax.transforms.pmap import pmap as pmap
    from functrax.transforms.remat.checkpoint import checkpoint as checkpoint
    from functrax.transforms.remat.checkpoint import remat as remat
    from functrax.transforms.remat.policies import checkpoint_policies as checkpoint_policies
    from functrax.transforms.remat.saved import saved_report as saved_report
    from functrax.transforms.replicas import device_put_replicated as device_put_replicated
    from functrax.transforms.replicas import device_put_sharded as device_put_sharded
    from functrax.transforms.replicas import replicate as replicate
    from functrax.transforms.replicas import unreplicate as unreplicate
    from functrax.transforms.scope import disable_jit as disable_jit
    from functrax.transforms.scope import ensure_compile_time_eval as ensure_compile_time_eval
    from functrax.transforms.scope import named_call as named_call
    from functrax.transforms.scope import named_scope as named_scope
    from functrax.transforms.shard_map import shard_map as shard_map
    from functrax.transforms.vmap import vmap as vmap
    from functrax.version import __version__ as __version__

_install_evaluator(_evaluate, _convert)
_install_operators(_OPERATORS)

__dir__ = _directory(__name__)
