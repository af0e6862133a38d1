"""Two processes on loopback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import numpy as np
from functrax.errors import DeviceError
from functrax.xla import buffers, client, distributed, mlir, options

address, index = sys.argv[1], int(sys.argv[2])
group = distributed.ProcessGroup(address, 2, index, init_timeout=60, heartbeat_timeout=60,
                                 shutdown_timeout=20)
cpu = client.cpu_client(2, group)
assert len(cpu.devices) == 4 and len(cpu.local_devices) == 2 and cpu.process_index == index

group.set(f"hello/{index}", b"from %d" % index)
assert group.get(f"hello/{1 - index}", 30) == b"from %d" % (1 - index)
assert group.try_get("nothing") is None
for refused in (lambda: group.get("nothing", 0.1), lambda: group.set(f"hello/{index}", b"")):
    try:
        refused()
    except DeviceError as error:
        print(error.expected)
group.barrier("counted", 30) if group.increment("count") else None
assert group.increment("count", 0) == 2
assert group.live_processes([0, 1]) == [0, 1]
group.barrier("read", 30)
group.delete("hello")
assert group.try_get(f"hello/{index}") is None

module = mlir.parse_module('''module @p attributes {mhlo.num_partitions = 4 : i32} {
  sdy.mesh @m = <["a"=4]>
  func.func public @main(%x: tensor<4xf32> {sdy.sharding = #sdy.sharding<@m, [{"a"}]>})
      -> (tensor<f32> {sdy.sharding = #sdy.sharding<@m, []>}) {
    %z = stablehlo.constant dense<0.0> : tensor<f32>
    %r = stablehlo.reduce(%x init: %z) applies stablehlo.add across dimensions = [0]
      : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
    return %r : tensor<f32>
  }
}''')
f32 = np.dtype("float32")
program = cpu.compile(module, options.compile_options(cpu.devices, 1, 4), [((), f32)])
sharding = buffers.raw_sharding(cpu.devices, buffers.hlo_sharding("{devices=[4]<=[4]}"))
parts = [np.array([2 * index + k], f32) for k in range(2)]
x = buffers.put_sharded((4,), f32, sharding, parts, cpu.local_devices)
(total,) = program([x])
print([float(buffers.to_numpy(part, (), f32)) for part in buffers.shards(total)])
group.shutdown()
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_compute_and_talk():
    address = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(index)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    for index, output in enumerate(outputs):
        assert "[6.0, 6.0]" in output
        assert "a value of 'nothing' within 0.1 s" in output
        assert f"a new key, not 'hello/{index}'" in output


def test_nobody_joins():
    from functrax.errors import DeviceError
    from functrax.xla import distributed

    with pytest.raises(DeviceError) as caught:
        distributed.ProcessGroup(f"127.0.0.1:{free_port()}", 2, 1, init_timeout=1)
    assert caught.value.call == "distributed.initialize"
