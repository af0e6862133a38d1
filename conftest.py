"""What the examples in docstrings take as imported: ``functrax`` and ``functrax.numpy as jnp``."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the names into the namespace of a doctest; other tests import what they use."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import functrax
    import functrax.numpy as jnp
    from functrax.core.primitive import registry

    namespace: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    namespace.update(functrax=functrax, jnp=jnp)
    known = set(registry)
    yield
    for name in set(registry) - known:  # an example may declare a primitive, and run again
        del registry[name]
