"""The public names and signatures are those of JAX, or stand here with the reason why not.

JAX is the one that is installed; what only one of the supported versions has is not held against
functrax.
"""

import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import jax
import pytest

import functrax
import functrax.numpy as jnp

# Each public module with the module of JAX whose names it has.
MODULES = {
    "functrax": "jax",
    "functrax.custom_batching": "jax.custom_batching",
    "functrax.custom_derivatives": "jax.custom_derivatives",
    "functrax.ad_checkpoint": "jax.ad_checkpoint",
    "functrax.checking": "jax.experimental.checkify",
    "functrax.debug": "jax.debug",
    "functrax.dlpack": "jax.dlpack",
    "functrax.dtypes": "jax.dtypes",
    "functrax.errors": "jax.errors",
    "functrax.experimental": "jax.experimental",
    "functrax.experimental.mesh_utils": "jax.experimental.mesh_utils",
    "functrax.extend": "jax.extend.core",
    "functrax.ffi": "jax.ffi",
    "functrax.lax": "jax.lax",
    "functrax.nn": "jax.nn",
    "functrax.nn.initializers": "jax.nn.initializers",
    "functrax.numpy": "jax.numpy",
    "functrax.numpy.linalg": "jax.numpy.linalg",
    "functrax.random": "jax.random",
    "functrax.scipy": "jax.scipy",
    "functrax.scipy.special": "jax.scipy.special",
    "functrax.sharding": "jax.sharding",
    "functrax.stages": "jax.stages",
    "functrax.testing": "jax.test_util",
    "functrax.tree": "jax.tree",
    "functrax.tree_util": "jax.tree_util",
}

# Names that JAX's module lacks, by the reason why we have them.
EXTENSIONS = {
    "functrax": {
        "require": "a platform, or an error: no silent fall-back",
        "topology": "devices that are not here: jax.experimental.topologies is less of it",
        "saved_report": "JAX prints the residuals alone: ad_checkpoint.print_saved_residuals",
        "explain_comms": "the collectives of a compiled program: JAX shows HLO alone",
        "no_implicit_comms": "a switch against collectives that only the partitioner wants",
        "timings": "seconds spent tracing, lowering and compiling: JAX only logs them",
        "testing": "jax.test_util; as soon as it is imported",
        "extend": "as soon as it is imported, as in JAX",
        "ad_checkpoint": "as soon as it is imported, as in JAX",
        "checking": "jax.experimental.checkify, not an experiment here",
        "debug_index": "the switch for indices, as debug_nans is for NaN",
    }
    | dict.fromkeys(["replicate", "unreplicate"], "of flax.jax_utils: pmap is first class")
    | dict.fromkeys(["device_put_replicated", "device_put_sharded"], "JAX 0.10 dropped them"),
    "functrax.checking": {"debug_index": "beside index_checks, which need checkify"},
    "functrax.dlpack": {"to_dlpack": "older JAX has it, and libraries still call it"},
    "functrax.dtypes": dict.fromkeys(
        ["isdtype", "promote_types"], "of jax.numpy: they belong to the rest of the module"
    ),
    "functrax.errors": None,  # our own hierarchy: docs/differences.md
    "functrax.extend": dict.fromkeys(
        [
            *("NOT_LINEAR", "ZERO_DERIVATIVE", "BatchAxis", "Linear", "Refusal"),
            *("declare", "declare_linear", "is_linear", "move_batch_axis", "param_type"),
        ],
        "a primitive is one record, with all its rules",
    )
    | dict.fromkeys(["Equation", "ShapedArray", "Tracer", "as_value", "bind"], "what rules use")
    | dict.fromkeys(["eval_jaxpr", "parse", "show"], "programs as text, and run"),
    "functrax.lax": {
        **dict.fromkeys(["reduce_to", "gather_to", "scatter_from"], "to or from one position"),
        "exclusive_psum": "prefix sums along an axis",
        "pvary": "older JAX has it; pcast(to='varying') refuses values that vary already",
    },
    "functrax.numpy": {"fix": "of NumPy; JAX 0.9 dropped it"}
    | dict.fromkeys(
        ["UniqueAll", "UniqueCounts", "UniqueInverse"], "what unique_all and the others return"
    ),
    "functrax.tree_util": {"broadcast_prefix": "what in_axes and other prefixes are read with"},
}

# Parameters that functions of JAX have and ours lack.
ABSENT = {
    "accuracy": "XLA's choice of algorithms: not there yet",
    "out_sharding": "explicit shardings: not there yet",
}
# By function: the parameters in which it differs, and why.
SIGNATURES = {
    "functrax.ShapeDtypeStruct": ("manual_axis_type is_ref _memory_space", "not there yet"),
    "functrax.checking.Error": ("_pred _code _metadata _payload", "checkify makes it, not users"),
    "functrax.checkpoint": ("concrete", "deprecated in JAX"),
    "functrax.remat": ("concrete", "deprecated in JAX"),
    "functrax.custom_gradient": (
        "fun with_logs remat with_accums",
        "new in JAX 0.12",
    ),
    "functrax.custom_derivatives.custom_gradient": (
        "fun with_logs remat with_accums",
        "new in JAX 0.12",
    ),
    "functrax.ffi.ffi_lowering": (
        "backend_config skip_ffi_layout_processing",
        "attributes are the primitive's parameters; layouts are always written",
    ),
    "functrax.local_devices": ("host_id", "deprecated in JAX"),
    "functrax.transfer_guard": ("new_val", "all scopes have one form"),
    "functrax.linearize": ("in_nzs", "internal to JAX"),
    "functrax.P": ("unreduced_kind", "new in JAX 0.12"),
    "functrax.sharding.PartitionSpec": ("unreduced_kind", "new in JAX 0.12"),
    "functrax.make_mesh": ("axis_sizes", "the name of axis_shapes in JAX 0.12"),
    "functrax.vjp": ("saveable_args in_nzs", "new in JAX 0.12"),
    "functrax.vmap": ("sum_match", "internal to JAX"),
    "functrax.testing.check_jvp": ("eps", "None finds a step that fits the precision"),
    "functrax.testing.check_vjp": ("eps", "None finds a step that fits the precision"),
    "functrax.lax.mul": ("out_dtype", "not there yet"),
    "functrax.numpy.lexsort": ("batch_size", "new in JAX 0.12"),
    "functrax.numpy.take_along_axis": (
        "wrap_negative_indices",
        "None in JAX 0.10, True in 0.12",
    ),
    "functrax.numpy.iscomplex": ("x", "by position, as in isnan"),
    "functrax.numpy.isreal": ("x", "by position, as in isnan"),
    "functrax.numpy.isneginf": ("out", "arrays are immutable"),
    "functrax.numpy.isposinf": ("out", "arrays are immutable"),
    "functrax.numpy.issubdtype": ("arg1 arg2", "that of jax.dtypes, where they are a and b"),
    "functrax.numpy.trim_zeros": ("axis", "not there yet"),
    "functrax.numpy.linalg.cross": ("axis", "one function with numpy.cross, where -1 is the same"),
}
NAMED = [inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY]
POSITIONAL = [inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD]


def modules(name: str) -> tuple[types.ModuleType, types.ModuleType]:
    """Return a module and JAX's."""
    return importlib.import_module(name), importlib.import_module(MODULES[name])


def public(name: str) -> list[str]:
    """Return the public names of a module."""
    return [member for member in dir(importlib.import_module(name)) if not member.startswith("_")]


# ---- names


@pytest.mark.parametrize("name", MODULES)
def test_names_are_those_of_jax(name):
    _, theirs = modules(name)
    extra = EXTENSIONS.get(name, {})
    if extra is None:
        return
    unknown = {member for member in public(name) if not hasattr(theirs, member)} - extra.keys()
    assert not unknown, f"not in {theirs.__name__}; is it meant to be public?"
    assert extra.keys() - {"ad_checkpoint", "extend", "testing"} <= set(public(name)), (
        "listed, but not there"
    )


@pytest.mark.parametrize("name", MODULES)
def test_dir_is_true(name):
    """Every name that is shown is there, documented, and all public modules are shown."""
    module = importlib.import_module(name)
    assert len(set(dir(module))) == len(dir(module))
    for member in public(name):
        found = getattr(module, member)
        assert not isinstance(found, types.ModuleType) or found.__name__ in MODULES, member
        if callable(found) and getattr(found, "__module__", "").startswith("functrax"):
            assert found.__doc__, f"{name}.{member} has no docstring"


def test_every_public_module_is_here():
    """Those with a `__dir__` are public; the others are files of which these are made."""
    found = {"functrax"}
    for info in pkgutil.walk_packages(functrax.__path__, "functrax."):
        if info.name.endswith("__main__"):
            continue
        if "__dir__" in vars(importlib.import_module(info.name)):
            found.add(info.name)
    assert found == set(MODULES)


# ---- signatures


def signature(function: Any) -> inspect.Signature | None:
    """Return the signature of a function, if it has one."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def differences(ours: inspect.Signature, theirs: inspect.Signature) -> Iterator[str]:
    """Yield the parameters of JAX's function that ours does not take as it does."""
    positional = [p.name for p in ours.parameters.values() if p.kind in POSITIONAL]
    for place, parameter in enumerate(theirs.parameters.values()):
        name, own = parameter.name, ours.parameters.get(parameter.name)
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            if place >= len(positional):
                yield name
        elif parameter.kind not in NAMED:
            continue
        elif (
            own is None
            or own.kind not in NAMED
            or (parameter.kind in POSITIONAL and positional[place : place + 1] != [name])
            or not same_default(own.default, parameter.default)
        ):
            yield name


def same_default(ours: object, theirs: object) -> bool:
    """Compare defaults: whether there is one, and plain values."""
    empty = inspect.Parameter.empty
    if ours is empty or theirs is empty:
        return ours is theirs
    return not isinstance(theirs, int | float | str) or ours == theirs


def functions() -> Iterator[str]:
    for name in MODULES:
        for member in public(name):
            found = getattr(importlib.import_module(name), member)
            if callable(found) and name not in ("functrax.errors", "functrax.stages"):
                yield f"{name}.{member}"  # errors are our own; nobody makes a stage by hand


@pytest.mark.parametrize("path", sorted(set(functions())))
def test_signatures_are_those_of_jax(path):
    module, _, name = path.rpartition(".")
    ours, theirs = (getattr(m, name, None) for m in modules(module))
    own, other = signature(ours), signature(theirs)
    if theirs is None or other is None or own is None or path.startswith("functrax.extend."):
        return
    if isinstance(theirs, jax.numpy.ufunc):  # *args, and what must be None in JAX as well
        assert len([p for p in own.parameters.values() if p.kind in POSITIONAL]) == theirs.nin
        return
    allowed, _ = SIGNATURES.get(path, ("", ""))
    found = set(differences(own, other)) - set(allowed.split()) - ABSENT.keys()
    assert not found, f"{path}{own} where JAX has {other}"


def test_the_list_of_signatures_is_of_functions_that_are_there():
    assert SIGNATURES.keys() <= set(functions())


def test_a_wrong_signature_is_found():
    def theirs(a, /, b, c=1, *, d=None, e="x"): ...
    def ours(x, /, b, *, c=1, e="y"): ...

    found = list(differences(inspect.signature(ours), inspect.signature(theirs)))
    assert found == ["c", "d", "e"]
    assert not list(differences(inspect.signature(theirs), inspect.signature(theirs)))


# ---- the array API standard, and the version


def test_array_namespace():
    x = jnp.ones(3)
    assert x.__array_namespace__() is jnp
    assert x.__array_namespace__(api_version=jnp.__array_api_version__) is jnp
    assert functrax.jit(lambda x: x.__array_namespace__().sum(x))(x) == 3
    with pytest.raises(functrax.errors.ArgumentError) as caught:
        x.__array_namespace__(api_version="2021.12")
    assert str(caught.value).startswith(
        "[__array_namespace__] expected api_version='2024.12', or None; got '2021.12' ("
    )


def test_version():
    assert functrax.__version__.count(".") == 2
    try:
        installed = metadata.version("functrax")
    except metadata.PackageNotFoundError:
        return
    assert installed == functrax.__version__
