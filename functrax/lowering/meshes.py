"""Meshes and shardings in a StableHLO module, in Shardy's dialect."""

from collections.abc import Sequence
from typing import Any

from functrax.core.types import ShapedArray
from functrax.lowering.base import physical_type
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import DEFAULT_KIND, NamedSharding, axis_text, constraint_text
from functrax.xla import mlir


def rank_of(aval: ShapedArray) -> int:
    """Return the rank of the buffer that holds a value."""
    return len(physical_type(aval)[0])


class ModuleMeshes:
    """The meshes that a module names, each written once.

    Args:
        context: the module's context.
        module: the module.
        mesh: the devices of the program, in its order.
    """

    def __init__(self, context: mlir.MlirContext, module: mlir.Module, mesh: Mesh) -> None:
        """Say how many devices the program has."""
        context.load_shardy()
        self.context = context
        self.module = module
        self.mesh = mesh
        self._symbols: dict[Any, str] = {}
        module.operation.attributes["mhlo.num_partitions"] = context.i32(mesh.size)
        module.operation.attributes["mhlo.num_replicas"] = context.i32(1)

    def symbol(self, mesh: Mesh) -> str:
        """Return the name of a mesh, writing it the first time."""
        found = self._symbols.get(mesh)
        if found is None:
            found = self._symbols[mesh] = f"mesh_{len(self._symbols)}" if self._symbols else "mesh"
            axes = ", ".join(f"{axis_text(name)}={size}" for name, size in mesh.shape_tuple)
            order = ""
            if mesh.device_tuple != self.mesh.device_tuple:
                position = {device: i for i, device in enumerate(self.mesh.device_tuple)}
                ids = ", ".join(str(position[device]) for device in mesh.device_tuple)
                order = f", device_ids=[{ids}]"
            attributes = {
                "sym_name": self.context.string(found),
                "mesh": self.context.parse_attribute(f"#sdy.mesh<[{axes}]{order}>"),
            }
            with mlir.insert_at_start(self.module.body):
                mlir.operation(self.context, "sdy.mesh", (), (), attributes)
        return found

    def text(self, sharding: NamedSharding, ndim: int, is_open: bool = False) -> str:
        """Return a sharding of arrays of some rank, as it stands between angle brackets."""
        return constraint_text(sharding, self.symbol(sharding.mesh), ndim, is_open=is_open)

    def sharding(self, sharding: NamedSharding, ndim: int) -> Any:
        """Return the attribute of a sharding."""
        return self.context.parse_attribute(f"#sdy.sharding{self.text(sharding, ndim)}")

    def per_value(
        self, shardings: Sequence[NamedSharding], ranks: Sequence[int], is_open: bool
    ) -> Any:
        """Return the attribute of the shardings of several values."""
        pairs = zip(shardings, ranks, strict=True)
        texts = [self.text(one, ndim, is_open) for one, ndim in pairs]
        return self.context.parse_attribute(f"#sdy.sharding_per_value<[{', '.join(texts)}]>")

    def on_first_device(self, results: int) -> Any:
        """Return the attribute of an operation that the first device does, for its results."""
        found = self._symbols.get(None)
        if found is None:
            found = self._symbols[None] = "first_device"
            attributes = {
                "sym_name": self.context.string(found),
                "mesh": self.context.parse_attribute("#sdy.mesh<[], device_ids=[0]>"),
            }
            with mlir.insert_at_start(self.module.body):
                mlir.operation(self.context, "sdy.mesh", (), (), attributes)
        texts = ", ".join([f"<@{found}, []>"] * max(1, results))
        return self.context.parse_attribute(f"#sdy.sharding_per_value<[{texts}]>")

    def manual_axes(self, axes: Sequence[Any]) -> Any:
        """Return the attribute of axes along which a program sees its own part."""
        return self.context.parse_attribute(
            f"#sdy<manual_axes{{{', '.join(map(axis_text, axes))}}}>"
        )

    def attributes(
        self, avals: Sequence[ShapedArray], shardings: Sequence[NamedSharding | None]
    ) -> list[dict[str, Any]]:
        """Return the attributes of arguments or results of ``main``."""
        found: list[dict[str, Any]] = []
        for aval, one in zip(avals, shardings, strict=True):
            found.append({} if one is None else {"sdy.sharding": self.sharding(one, rank_of(aval))})
            if one is not None and one.memory_kind != DEFAULT_KIND:
                found[-1]["mhlo.memory_kind"] = self.context.string(one.memory_kind)
        return found
