"""Programs in XLA's own form before it optimizes them: their text, and what they would cost."""

from typing import Any

from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.client import Client
from functrax.xla.failure import translate
from functrax.xla.mlir import MLIRError, Module, bytecode


def hlo_text(module: Module) -> str:
    """Return a StableHLO module as HLO text.

    Raises:
        FunctraxError: XLA has no form for it.
    """
    return _computation(module, "as_text").as_hlo_text()


def estimate_costs(module: Module, client: Client) -> dict[str, float]:
    """Return XLA's count for a StableHLO module: ``"flops"``, ``"bytes accessed"``, ...

    Args:
        module: the module.
        client: any platform; it only says how large arrays are.

    Raises:
        FunctraxError: XLA has no form for it.
    """
    hlo_module = _computation(module, "cost_analysis").get_hlo_module()
    return dict(jax.hlo_module_cost_analysis(client.raw, hlo_module))


def _computation(module: Module, call: str) -> Any:
    try:
        return jax.mlir.mlir_module_to_xla_computation(
            bytecode(module), use_tuple_args=False, return_tuple=False
        )
    except (JaxRuntimeError, MLIRError, ValueError) as error:
        raise translate(error, call) from None
