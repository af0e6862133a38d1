"""Several processes as one: the coordination service, and what rides on it.

A process that dies takes the others with it: when the service misses its heartbeat, the C++ client
of every survivor ends its process (SIGABRT), and no Python code sees that coming. The same happens
to those that joined when others did not within `init_timeout`.
"""

import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Any

from functrax.errors import DeviceError
from functrax.xla._native import JaxRuntimeError, jax


class ProcessGroup:
    """This process's membership among those that share their devices.

    Args:
        address: ``host:port`` of the coordination service.
        num_processes: how many processes there are.
        process_id: the number of this one; number 0 runs the service.
        init_timeout: seconds to wait for all to join.
        heartbeat_timeout: seconds of silence after which a process counts as dead.
        shutdown_timeout: seconds to wait for the others at the end.
        recoverable: whether survivors live on after a death. A collective in flight may then hang
            for ever, so this is for processes that compute in a child.

    Raises:
        DeviceError: the service cannot start, or cannot be reached.
    """

    def __init__(
        self,
        address: str,
        num_processes: int,
        process_id: int,
        init_timeout: int = 300,
        heartbeat_timeout: int = 100,
        shutdown_timeout: int = 300,
        recoverable: bool = False,
    ) -> None:
        self.address = address
        self.num_processes = num_processes
        self.process_id = process_id
        self._service: Any = None
        expected = f"{num_processes} processes to join at {address} within {init_timeout} s"
        try:
            if process_id == 0:
                self._service = jax.get_distributed_runtime_service(
                    _bind_address(address),
                    num_processes,
                    heartbeat_timeout=heartbeat_timeout,
                    cluster_register_timeout=init_timeout,
                    shutdown_timeout=shutdown_timeout,
                    recoverable=recoverable,
                )
            else:
                _wait_for_service(address, init_timeout, expected)
            self.client: Any = jax.get_distributed_runtime_client(
                address,
                process_id,
                init_timeout=init_timeout,
                heartbeat_timeout=heartbeat_timeout,
                shutdown_timeout=shutdown_timeout,
                shutdown_on_destruction=True,
                use_compression=True,
            )
            self.client.connect()
        except JaxRuntimeError as error:
            raise _failure("distributed.initialize", expected, error) from None

    def cpu_options(self, hostname: str | None = None) -> dict[str, Any]:
        """Return what the CPU client needs to know about the group.

        Args:
            hostname: the name or address of this machine that the others can reach.
        """
        collectives = jax.make_gloo_tcp_collectives(
            distributed_client=self.client, hostname=hostname
        )
        return {
            "distributed_client": self.client,
            "node_id": self.process_id,
            "num_nodes": self.num_processes,
            "collectives": collectives,
        }

    def barrier(
        self, name: str, timeout: float = 300, processes: Sequence[int] | None = None
    ) -> None:
        """Wait until all processes have come to the barrier of this name, once for each name.

        Args:
            name: of the barrier.
            timeout: seconds to wait.
            processes: those that are waited for; all by default.

        Raises:
            DeviceError: not all came in time.
        """
        try:
            self.client.wait_at_barrier(name, _milliseconds(timeout), processes)
        except JaxRuntimeError as error:
            expected = f"every process at barrier {name!r} within {timeout} s"
            raise _failure("barrier", expected, error) from None

    def set(self, key: str, value: bytes, overwrite: bool = False) -> None:
        """Publish a value for all processes.

        Raises:
            DeviceError: the key has a value already, and `overwrite` is False.
        """
        try:
            self.client.key_value_set_bytes(key, value, overwrite)
        except JaxRuntimeError as error:
            raise _failure("key_value_set", f"a new key, not {key!r}", error) from None

    def get(self, key: str, timeout: float = 300) -> bytes:
        """Return the value of a key, waiting until some process publishes it.

        Raises:
            DeviceError: none did in time.
        """
        try:
            return self.client.blocking_key_value_get_bytes(key, _milliseconds(timeout))
        except JaxRuntimeError as error:
            expected = f"a value of {key!r} within {timeout} s"
            raise _failure("key_value_get", expected, error) from None

    def try_get(self, key: str) -> bytes | None:
        """Return the value of a key, or None if there is none yet."""
        try:
            return self.client.key_value_try_get_bytes(key)
        except JaxRuntimeError as error:
            if "NOT_FOUND" in str(error):
                return None
            raise _failure("key_value_get", f"a value of {key!r}", error) from None

    def delete(self, key: str) -> None:
        """Remove a key, or all keys below it."""
        self.client.key_value_delete(key)

    def increment(self, key: str, amount: int = 1) -> int:
        """Add to a counter that all processes share, and return its new value."""
        return self.client.key_value_increment(key, amount)

    def live_processes(self, processes: Sequence[int]) -> list[int]:
        """Return which of these processes are alive; waits until the dead are known to be."""
        return sorted(self.client.get_live_nodes(list(processes)))

    def shutdown(self) -> None:
        """Leave the group, waiting for the others; the service goes last.

        Raises:
            DeviceError: the others did not come to the end in time.
        """
        try:
            self.client.shutdown()
            if self._service is not None:
                self._service.shutdown()
        except JaxRuntimeError as error:
            raise _failure("distributed.shutdown", "every process to shut down", error) from None


def _bind_address(address: str) -> str:
    return f"[::]:{address.rpartition(':')[2]}"  # on every interface, however others name this host


def _wait_for_service(address: str, seconds: float, expected: str) -> None:
    """Wait until somebody listens: where nobody does, the C++ client ends this process."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
            return
        if time.monotonic() > deadline:
            fix = "Start process 0 first, and check the address and the firewall."
            got = "nobody who listens there"
            raise DeviceError("distributed.initialize", expected, got, fix=fix)
        time.sleep(0.1)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _failure(call: str, expected: str, error: BaseException) -> DeviceError:
    return DeviceError(
        call, expected, str(error), fix="See the logs of the other processes for the first failure."
    )
