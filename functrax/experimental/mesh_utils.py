"""Devices in grids that fit the network between them, with the names of JAX's `mesh_utils`."""

from functrax.core.public import directory as _directory
from functrax.runtime.mesh import create_device_mesh as create_device_mesh
from functrax.runtime.mesh import create_hybrid_device_mesh as create_hybrid_device_mesh

__dir__ = _directory(__name__)
