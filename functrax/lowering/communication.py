"""Communication between the devices of a mesh, in StableHLO.

A collective is written inside the manual computation of a mesh whose devices are numbered row by
row. It is among the devices whose positions differ along its axes only.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.types import ShapedArray
from functrax.lowering.base import Attribute, BaseBuilder, Value
from functrax.lowering.meshes import rank_of
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import NamedSharding
from functrax.sharding.spec import PartitionSpec

Names = tuple[object, ...]
Groups = tuple[tuple[int, ...], ...] | None


class CommunicationBuilder(BaseBuilder):
    """Appends collectives to the function that is being written."""

    __slots__ = ()

    def all_reduce(
        self, x: Value, out: ShapedArray, axes: Names, groups: Groups, operation: str
    ) -> Value:
        """Combine the values of all devices elementwise, by ``add``, ``maximum``, ``or`` ..."""
        attributes = self._among(self.device_groups(axes, groups), global_ids=True)
        call = self.multi_op("stablehlo.all_reduce", (x,), [out], attributes, regions=1)
        return self._combined(call, out, operation)

    def reduce_scatter(
        self, x: Value, out: ShapedArray, axes: Names, groups: Groups, dimension: int
    ) -> Value:
        """Add the values of all devices, and keep the own slice."""
        attributes = self._among(self.device_groups(axes, groups), global_ids=True)
        attributes["scatter_dimension"] = self.context.i64(dimension)
        call = self.multi_op("stablehlo.reduce_scatter", (x,), [out], attributes, regions=1)
        return self._combined(call, out, "add")

    def _combined(self, call: Value, out: ShapedArray, operation: str) -> Value:
        element = ShapedArray((), out.dtype)
        self.region(
            call.regions[0],
            (element, element),
            lambda a, b: [self.op(f"stablehlo.{operation}", (a, b), element)],
        )
        return call.results[0]

    def all_gather(
        self, x: Value, out: ShapedArray, axes: Names, groups: Groups, dimension: int
    ) -> Value:
        """Concatenate the values of all devices."""
        attributes = self._among(self.device_groups(axes, groups), global_ids=True)
        attributes["all_gather_dim"] = self.context.i64(dimension)
        return self.multi_op("stablehlo.all_gather", (x,), [out], attributes).results[0]

    def all_to_all(
        self, x: Value, out: ShapedArray, axes: Names, groups: Groups, split: int, concat: int
    ) -> Value:
        """Send a slice to each device, and concatenate what arrives."""
        c = self.context
        rows = self.device_groups(axes, groups)
        attributes = self._among(rows) | {
            "split_dimension": c.i64(split),
            "concat_dimension": c.i64(concat),
            "split_count": c.i64(len(rows[0])),
        }
        return self.multi_op("stablehlo.all_to_all", (x,), [out], attributes).results[0]

    def collective_permute(
        self, x: Value, out: ShapedArray, axes: Names, perm: Sequence[tuple[int, int]]
    ) -> Value:
        """Send values along pairs (source, destination); who receives nothing has zeros."""
        pairs = [(row[s], row[d]) for row in self.device_groups(axes) for s, d in perm]
        attributes = {
            "source_target_pairs": self.context.dense_i64_matrix(tuple(pairs)),
            "channel_handle": self.context.channel_handle(self.next_channel()),
        }
        return self.op("stablehlo.collective_permute", (x,), out, attributes)

    def collective_broadcast(self, x: Value, out: ShapedArray, axes: Names, source: int) -> Value:
        """Give every device the value of one."""
        if self.platform == "gpu":
            rows = self.device_groups(axes)
            rows = tuple((row[source], *row[:source], *row[source + 1 :]) for row in rows)
            return self.op("stablehlo.collective_broadcast", (x,), out, self._among(rows))
        # Elsewhere XLA has no such operation: add up bits, of which all but the source's are zero.
        bits = out
        if dtypes.is_floating(out.dtype):
            bits = out.update(dtype=np.dtype(f"uint{8 * out.dtype.itemsize}"))
            x = self.bitcast(x, bits)
        index = ShapedArray((), np.dtype(np.int32))
        is_source = self.compare("EQ", self.position(axes), self.constant(source, np.int32), index)
        masked = self.select(is_source, x, self.full(0, bits), bits)
        operation = "or" if dtypes.is_bool(out.dtype) else "add"
        y = self.all_reduce(masked, bits, axes, None, operation)
        return y if bits is out else self.bitcast(y, out)

    def ragged_all_to_all(self, operands: Sequence[Value], axes: Names, groups: Groups) -> Value:
        """Send slices of sizes known at run time; operands as of ``lax.ragged_all_to_all``."""
        rows = self.device_groups(axes, groups)
        if self.platform == "cpu":
            raise errors.DeviceError(
                "ragged_all_to_all",
                "devices for which XLA has this operation: GPUs or TPUs",
                "CPUs",
                fix="Pad the slices to one size and use `all_to_all`, or map the axis by `vmap`.",
            )
        config = {
            "replica_groups": self.context.dense_i64_matrix(rows),
            "channel_id": self.context.i64(self.next_channel()),
        }
        attributes = {
            "call_target_name": self.context.string("ragged_all_to_all"),
            "backend_config": self.context.dictionary(config),
            "api_version": self.context.i32(4),
        }
        return self.op("stablehlo.custom_call", operands, self.out_types[0], attributes)

    def _among(
        self, rows: Sequence[Sequence[int]], *, global_ids: bool = False
    ) -> dict[str, Attribute]:
        """Return the attributes that say who communicates; short rows are filled up with -1."""
        width = max(len(row) for row in rows)
        filled = tuple((*row, *(-1,) * (width - len(row))) for row in rows)
        attributes = {
            "replica_groups": self.context.dense_i64_matrix(filled),
            "channel_handle": self.context.channel_handle(self.next_channel()),
        }
        if global_ids:
            attributes["use_global_device_ids"] = self.context.unit()
        return attributes

    def manual_computation(
        self,
        operands: Sequence[Value],
        in_shardings: Sequence[NamedSharding],
        out_shardings: Sequence[NamedSharding],
        mesh: Mesh,
        axes: Names,
        types: Sequence[ShapedArray],
        body: Callable[..., Sequence[Value]],
    ) -> list[Value]:
        """Let each device run a program on its own part.

        Args:
            operands: whole arrays.
            in_shardings: which part of each a device takes, all over one mesh.
            out_shardings: which part of the results it gives.
            mesh: that mesh.
            axes: of the mesh, along which the program sees its own part; the others are the
                compiler's.
            types: of the parts that the program takes.
            body: writes the program: receives the parts and returns those of the results.
        """
        meshes, is_open = self.meshes, len(axes) < len(mesh.axis_names)
        if mesh.device_tuple != meshes.mesh.device_tuple:
            raise errors.DeviceError(
                "jit",
                "every shard_map and pmap of a program to list the devices in one order, "
                f"here that of {meshes.mesh!r}",
                f"{mesh!r} with the same devices in another order",
                fix="Make both meshes of devices in one order.",
            )
        saved = self.mesh_axes, self.auto
        around = self.auto[1] if self.mesh_axes else mesh.axis_names
        self.mesh_axes = mesh.shape_tuple
        self.auto = mesh, tuple(name for name in around if name not in axes)
        sizes = dict(mesh.shape_tuple)
        if all(sizes[name] == 1 for name in axes):  # every device sees all there is
            results = list(body(*operands))
        else:
            ranks = [rank_of(aval) for aval in self.in_types], [rank_of(a) for a in self.out_types]
            attributes = {
                "in_shardings": meshes.per_value(in_shardings, ranks[0], is_open),
                "out_shardings": meshes.per_value(out_shardings, ranks[1], is_open),
                "manual_axes": meshes.manual_axes(axes),
            }
            outs = self.out_types
            if not operands and not outs:
                # XLA forgets what devices do in a region that neither takes nor gives anything.
                number = ShapedArray((), np.dtype(np.int32))
                attributes["in_shardings"] = attributes["out_shardings"] = meshes.per_value(
                    [_everywhere(mesh)], [0], is_open
                )
                operands, types, outs = [self.constant(0, np.int32)], [number], [number]
                empty, body = body, lambda x: [*empty(), x]
            call = self.multi_op("sdy.manual_computation", operands, outs, attributes, regions=1)
            self.region(call.regions[0], types, body, "sdy.return")
            results = list(call.results)[: len(self.out_types)]
        self.mesh_axes, self.auto = saved
        return results

    # Positions ------------------------------------------------------------------------------------

    def position(self, axes: Names) -> Value:
        """Return the device's position along axes together, the last one fastest, as int32."""
        self._check_mapped(axes)
        sizes = dict(self.mesh_axes)
        if all(sizes[name] == 1 for name in axes):
            return self.constant(0, np.int32)
        unsigned = ShapedArray((), np.dtype(np.uint32))
        device = self._device(unsigned)

        def apply(operation: str, x: Value, number: int) -> Value:
            return self.op(
                f"stablehlo.{operation}", (x, self.constant(number, np.uint32)), unsigned
            )

        total: Value = None
        for name in axes:
            place = [other for other, _ in self.mesh_axes].index(name)
            size = self.mesh_axes[place][1]
            stride = math.prod(inner for _, inner in self.mesh_axes[place + 1 :])
            index = apply("remainder", apply("divide", device, stride), size)
            if total is not None:
                total = apply("multiply", total, size)
                index = self.op("stablehlo.add", (total, index), unsigned)
            total = index
        return self.convert(total, ShapedArray((), np.dtype(np.int32)))

    def _device(self, out: ShapedArray) -> Value:
        """Return the number of the device, which XLA gives where no axis is the compiler's."""
        mesh, axes = self.auto
        if not axes:
            return self.op("stablehlo.partition_id", (), out)
        attributes = {
            "in_shardings": self.meshes.per_value((), (), False),
            "out_shardings": self.meshes.per_value([_everywhere(mesh)], [0], False),
            "manual_axes": self.meshes.manual_axes(axes),
        }
        call = self.multi_op("sdy.manual_computation", (), [out], attributes, regions=1)
        number = lambda: [self.op("stablehlo.partition_id", (), out)]  # noqa: E731
        self.region(call.regions[0], (), number, "sdy.return")
        return call.results[0]

    def device_groups(self, axes: Names, groups: Groups = None) -> tuple[tuple[int, ...], ...]:
        """Return the devices that communicate with each other, row by row.

        Args:
            axes: along which their positions differ, the first one being the major one.
            groups: of positions along the axes together; None for one group of all.
        """
        self._check_mapped(axes)
        names = [name for name, _ in self.mesh_axes]
        shape = [size for _, size in self.mesh_axes]
        places = [names.index(name) for name in axes]
        devices = np.arange(math.prod(shape)).reshape(shape)
        devices = np.moveaxis(devices, places, range(-len(places), 0))
        rows = devices.reshape(-1, math.prod(shape[k] for k in places)).tolist()
        if groups is None:
            return tuple(map(tuple, rows))
        return tuple(tuple(row[k] for k in group) for row in rows for group in groups)

    def _check_mapped(self, axes: Names) -> None:
        mapped = [name for name, _ in self.mesh_axes]
        for name in axes:
            if name not in mapped:
                raise errors.AxisNameError(
                    "jit",
                    "a collective over axes that a transform around it maps",
                    f"one over {name!r}; mapped: {', '.join(map(repr, mapped)) or 'none'}",
                    fix=f"Call it inside `vmap(f, axis_name={name!r})`, `pmap` or `shard_map`.",
                )


def _everywhere(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
