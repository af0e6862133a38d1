"""jaxlib's extension modules, named once.

jaxlib ships no type stubs for them, so here they become ``Any`` and the rest of the package stays
free of casts. They are loaded without ``jaxlib.xla_client``, which only wraps them.
"""

from typing import Any

from jaxlib import _hlo as _hlo_module  # pyright: ignore[reportAttributeAccessIssue]
from jaxlib import _jax as _jax_module  # pyright: ignore[reportAttributeAccessIssue]

jax: Any = _jax_module
hlo: Any = _hlo_module

JaxRuntimeError: type[RuntimeError] = jax.JaxRuntimeError
