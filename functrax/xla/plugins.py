"""PJRT plug-ins: finding the CUDA and TPU runtimes that pip installed, and loading them.

jax's own plug-in modules import jax, so the files are found and loaded without them. If jax has
loaded a runtime already, it is used as it is: a process can load each only once.
"""

import contextlib
import functools
import glob
import importlib
import importlib.util
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from functrax.errors import DeviceError
from functrax.xla._native import JaxRuntimeError, jax
from functrax.xla.versions import JAXLIB_VERSION, JAXLIB_VERSION_STRING, parse_version

if TYPE_CHECKING:
    from functrax.xla.distributed import ProcessGroup

OptionValue: TypeAlias = str | bool | int | float | list[int]

_lock = threading.RLock()

_CUDA_PACKAGES = ("jax_cuda13_plugin", "jax_cuda12_plugin")
_CUDA_REGISTRATIONS = ("_solver", "_linalg", "_prng", "_sparse", "_hybrid", "_triton", "_rnn")
_CUDA_DEVICE_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")

# NVIDIA's libraries from its wheels, dependencies first; what is found here later look-ups find.
_CUDA_LIBRARIES = {
    "cuda_runtime": ("libcudart.so.12",),
    "cuda_nvrtc": ("libnvrtc.so.12",),
    "cublas": ("libcublas.so.12", "libcublasLt.so.12"),
    "cuda_cupti": ("libcupti.so.12",),
    "cusparse": ("libcusparse.so.12",),
    "cusolver": ("libcusolver.so.11",),
    "cufft": ("libcufft.so.11",),
    "cu13": (
        "libcudart.so.13",
        "libnvrtc.so.13",
        "libcublas.so.13",
        "libcublasLt.so.13",
        "libcupti.so.13",
        "libcusparse.so.12",
        "libcusolver.so.12",
        "libcufft.so.12",
    ),
    "nccl": ("libnccl.so.2",),
    "nvshmem": ("libnvshmem_host.so.3",),
    "cudnn": ("libcudnn.so.9",),
}


def make_cuda_client(group: "ProcessGroup | None" = None) -> Any:
    """Return jaxlib's client of the NVIDIA GPUs.

    Args:
        group: the processes that share the GPUs, if there are several.

    Raises:
        DeviceError: there is no GPU, or no plug-in, or it does not start.
    """
    if not any(os.path.exists(name) for name in _CUDA_DEVICE_FILES):
        fix = 'Install the driver, or use another platform, such as `devices("cpu")`.'
        raise DeviceError("devices", "an NVIDIA GPU", "no NVIDIA driver on this machine", fix=fix)
    load_cuda()
    from jaxlib import xla_client

    wrapper: Any = xla_client
    options: dict[str, OptionValue] = wrapper.generate_pjrt_gpu_plugin_options()
    if group is not None:
        options |= {"node_id": group.process_id, "num_nodes": group.num_processes}
    return _make_client("cuda", options, group)


def make_tpu_client(group: "ProcessGroup | None" = None) -> Any:
    """Return jaxlib's client of the TPU.

    Args:
        group: the processes that share the TPU, if there are several.

    Raises:
        DeviceError: there is no TPU, or no libtpu, or it does not start.
    """
    if not _has_tpu():
        fix = 'Use another platform, such as `devices("cpu")`.'
        raise DeviceError("devices", "a TPU", "no TPU on this machine", fix=fix)
    load_tpu()
    return _make_client("tpu", {}, group)


def _make_client(
    name: str, options: Mapping[str, OptionValue], group: "ProcessGroup | None"
) -> Any:
    distributed = None if group is None else group.client
    try:
        return jax.get_c_api_client(name, options, distributed)
    except JaxRuntimeError as error:
        raise DeviceError("devices", f"a {name} device that starts", str(error)) from None


def load_cuda() -> None:
    """Load the CUDA plug-in and its custom calls; it can then compile, also without a GPU.

    Raises:
        DeviceError: it is not installed, or does not fit jaxlib.
    """
    with _lock:
        if jax.pjrt_plugin_loaded("cuda"):
            return
        path, package = _find_cuda()
        _load_nvidia_libraries()
        handle = _load("cuda", path)
        _register_cuda_targets(handle, package)
        jax.initialize_pjrt_plugin("cuda")


def _find_cuda() -> tuple[str, str]:
    for package in _CUDA_PACKAGES:
        if importlib.util.find_spec(package) is not None:
            break
    else:
        raise _not_installed("the CUDA plug-in", "no jax-cuda13-plugin", "cuda")
    version: str = importlib.import_module(f"{package}.version").__version__
    if parse_version(version)[:3] != JAXLIB_VERSION[:3]:
        got = f"{package} {version} with jaxlib {JAXLIB_VERSION_STRING}"
        raise _not_installed("a CUDA plug-in of jaxlib's version", got, "cuda")
    plugins = importlib.util.find_spec("jax_plugins")
    for folder in (plugins and plugins.submodule_search_locations) or ():
        for path in glob.glob(os.path.join(folder, "xla_cuda*", "xla_cuda_plugin.so")):
            return path, package
    raise _not_installed("the CUDA runtime", "no jax-cuda13-pjrt", "cuda")


def _load_nvidia_libraries() -> None:
    import ctypes  # few processes need it

    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        for package, libraries in _CUDA_LIBRARIES.items():
            for library in libraries:
                with contextlib.suppress(OSError):  # not installed: the system's is looked up later
                    ctypes.CDLL(os.path.join(folder, package, "lib", library))


def _register_cuda_targets(handle: Any, package: str) -> None:
    from jaxlib import xla_client

    wrapper: Any = xla_client
    extension: Any = importlib.import_module(f"{package}.cuda_plugin_extension")
    register_type = functools.partial(extension.register_custom_type, handle)
    register_call = functools.partial(extension.register_custom_call_target, handle)
    wrapper.register_custom_type_handler("CUDA", register_type)
    wrapper.register_custom_call_handler("CUDA", register_call)
    for name, value in extension.ffi_types().items():
        wrapper.register_custom_type(name, value, platform="CUDA")
    targets = dict(extension.ffi_handlers())
    for module in _CUDA_REGISTRATIONS:
        targets |= importlib.import_module(f"{package}.{module}").registrations()
    for name, value in targets.items():
        wrapper.register_custom_call_target(name, value, platform="CUDA", api_version=1)


def load_tpu() -> None:
    """Load libtpu; it can then compile, also without a TPU.

    Raises:
        DeviceError: it is not installed.
    """
    with _lock:
        if not jax.pjrt_plugin_loaded("tpu"):
            path = _find_libtpu()
            _prepare_tpu_environment()
            _load("tpu", path)
        if not jax.pjrt_plugin_initialized("tpu"):
            jax.initialize_pjrt_plugin("tpu")


def _find_libtpu() -> str:
    path = os.environ.get("TPU_LIBRARY_PATH")
    if path is not None:
        return path
    spec = importlib.util.find_spec("libtpu")
    if spec is None or spec.origin is None:
        raise _not_installed("the TPU runtime", "no libtpu", "tpu")
    return os.path.join(os.path.dirname(spec.origin), "libtpu.so")


def _prepare_tpu_environment() -> None:
    """Tell libtpu where it is: elsewhere than on a TPU it asks the cloud for over 100 s."""
    wanted = {"GRPC_VERBOSITY": "ERROR", "TPU_ML_PLATFORM": "functrax"}
    if not _has_tpu():
        wanted = {
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process that compiles is refused
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_LOG_DIR": "disabled",
        }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _has_tpu() -> bool:
    if glob.glob("/dev/accel[0-9]*"):
        return True
    for name in glob.glob("/sys/bus/pci/devices/*/vendor"):
        with open(name) as vendor, open(os.path.join(os.path.dirname(name), "class")) as kind:
            # Google's virtual network cards have its vendor number too, but the class of networks.
            if vendor.read().strip() == "0x1ae0" and not kind.read().startswith("0x02"):
                return True
    return False


def _load(name: str, path: str) -> Any:
    from jaxlib import _profiler  # pyright: ignore[reportAttributeAccessIssue]

    try:
        handle = jax.load_pjrt_plugin(name, path, None)
    except (JaxRuntimeError, ValueError) as error:
        raise DeviceError("devices", f"a {name} plug-in that loads", f"{path}: {error}") from None
    profiler: Any = _profiler
    profiler.register_plugin_profiler(handle)
    return handle


def _not_installed(expected: str, got: str, extra: str) -> DeviceError:
    return DeviceError("devices", expected, got, fix=f'Run `pip install "functrax[{extra}]"`.')
