"""What the examples in docstrings take as imported: ``functrax`` and ``functrax.numpy as jnp``."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Put the names into the namespace of a doctest; other tests import what they use."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    import functrax
    import functrax.numpy as jnp

    namespace: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    namespace.update(functrax=functrax, jnp=jnp)
