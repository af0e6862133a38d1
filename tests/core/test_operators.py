"""Arrays and tracers have one set of operators and methods, declared for type checkers as
installed.
"""

import inspect
import re
from pathlib import Path

import functrax
import functrax.core.operators
import functrax.numpy as jnp
from functrax.core.trace import Array
from functrax.numpy.operators import OPERATORS


def subclasses(kind: type) -> list[type]:
    return [kind, *(found for child in kind.__subclasses__() for found in subclasses(child))]


def test_no_field_hides_a_method():
    for kind in subclasses(Array)[1:]:
        fields = set(vars(kind).get("__slots__", ()))
        hidden = {name for name in fields & set(OPERATORS) if not name.startswith("__")}
        assert not hidden, f"{kind.__name__} hides {hidden}"


def test_declarations_are_the_operators():
    source = Path(inspect.getsourcefile(functrax.core.operators)).read_text()
    declared = set(re.findall(r"^        def (\w+)\(", source, re.MULTILINE))
    assert declared == set(OPERATORS)


def test_methods_named_like_fields_of_tracers():
    x = jnp.eye(3)
    assert float(functrax.jit(lambda x: x.trace())(x)) == 3.0
    assert float(functrax.grad(lambda x: x.var())(x).sum()) == 0.0
    assert functrax.vmap(lambda x: x.var())(x).shape == (3,)
