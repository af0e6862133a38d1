"""How arrays lie on devices: meshes, specs and shardings, all plain values."""

from functrax.sharding.mesh import AxisType, Mesh, get_mesh, set_mesh
from functrax.sharding.shardings import NamedSharding, Sharding, SingleDeviceSharding
from functrax.sharding.spec import PartitionSpec

__all__ = [
    "AxisType",
    "Mesh",
    "NamedSharding",
    "PartitionSpec",
    "Sharding",
    "SingleDeviceSharding",
    "get_mesh",
    "set_mesh",
]


def __dir__() -> list[str]:
    return __all__
