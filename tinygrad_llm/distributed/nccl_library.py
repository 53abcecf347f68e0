"""NCCL through CuPy: where the library is, its version, and the end of a communicator.

The wheels nvidia-nccl-cu12 and nvidia-nccl-cu13 put libnccl.so.2 beside other packages, where the
system's loader does not look. It is loaded by its path before `cupy.cuda.nccl` is imported, which
then finds it by name. The wheel itself is not imported.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import os
import socket
import threading
from importlib.util import find_spec
from typing import Any

from ..files.packages import install_extra

__all__ = [
    "end_communicator", "find_nccl_library", "gpu_name", "has_come", "loaded_nccl_library",
    "nccl_is_available", "nccl_module", "nccl_version",
]  # fmt: skip

_NAME = "libnccl.so.2"
_known: dict[str, Any] = {}  # the module, or why there is none


def find_nccl_library() -> str | None:
    """The path of libnccl.so.2 in an installed wheel, or None."""
    try:
        spec = find_spec("nvidia.nccl")
    except (ImportError, ValueError):  # there is no package nvidia
        spec = None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(glob.glob(os.path.join(folder, "lib", _NAME))):
            return path
    return None


def loaded_nccl_library() -> str | None:
    """The path of the libnccl that this process has loaded, where the system says it."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = [line.split(None, 5)[-1].strip() for line in file if "libnccl" in line]
    except OSError:
        return None
    return next(iter(paths), None)


def nccl_module() -> Any:
    """The module cupy.cuda.nccl.

    Raises: RuntimeError if CuPy or NCCL is not installed, or cannot be loaded.
    """
    if "module" not in _known:
        _known["module"] = _loaded()
    return _known["module"]


def _loaded() -> Any:
    install = f"{install_extra('nccl-cuda13')} (or nccl-cuda12) installs it"
    path = find_nccl_library()
    try:
        if path is not None:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        module = getattr(importlib.import_module("cupy").cuda, "nccl", None)
        if not hasattr(module, "NcclCommunicator"):  # looked for before the library was loaded
            module = importlib.import_module("cupy_backends.cuda.libs.nccl")
    except (ImportError, OSError, AttributeError) as error:
        raise RuntimeError(f"NCCL cannot be loaded ({error}): {install}") from error
    if not hasattr(module, "NcclCommunicator"):
        raise RuntimeError(f"NCCL is not installed, or this CuPy was built without it: {install}")
    return module


def nccl_is_available() -> bool:
    """Whether CuPy and NCCL are installed; a GPU is asked for when it is first used."""
    if find_spec("cupy") is None:
        return False
    try:
        nccl_module()
    except RuntimeError:
        return False
    return True


def gpu_name(index: int) -> str:
    """A name that no other GPU of any machine has."""
    bus = importlib.import_module("cupy").cuda.runtime.deviceGetPCIBusId(index)
    return f"{socket.gethostname()}/{bus}"


def nccl_version() -> tuple[int, int, int]:
    """NCCL's version, for example (2, 28, 9).

    Raises: RuntimeError if it cannot be loaded.
    """
    number = int(nccl_module().get_version())
    large = 10000 if number >= 10000 else 1000  # 2.8 and older: 2804
    return number // large, number % large // 100, number % 100


_NOT_READY = 600  # CUDA_ERROR_NOT_READY


def has_come(event: Any) -> bool:
    """Whether what was put on a stream before a CUDA event has ended, or has failed.

    CUDA may let the call wait, for as long as another thread copies from the GPU. It is asked
    without CuPy, whose `event.done` keeps all threads of Python waiting meanwhile.
    """
    pointer = getattr(event, "ptr", None)
    if pointer is None:  # a stand-in
        return bool(event.done)
    if "driver" not in _known:
        _known["driver"] = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    code: int = _known["driver"].cuEventQuery(ctypes.c_void_p(pointer))
    return code != _NOT_READY


def end_communicator(comm: Any, how: str, limit: float) -> bool:
    """Call ncclCommDestroy or ncclCommAbort (how: "destroy" or "abort"), for `limit` seconds.

    Both wait inside NCCL, and do not return while a CUDA graph with a call of the communicator
    exists; CuPy's methods keep all threads of Python waiting meanwhile. So NCCL is called without
    CuPy, in a separate thread. The communicator cannot be used after that.
    Returns whether the call has ended in time.
    """
    pointer = getattr(comm, "comm", None)
    call: Any = getattr(comm, how)
    if pointer is not None:
        library = ctypes.CDLL(find_nccl_library() or _NAME)
        function = getattr(library, f"ncclComm{how.capitalize()}")
        function.argtypes = (ctypes.c_void_p,)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(comm))  # CuPy's destructor would destroy again
        call = lambda: function(pointer)  # noqa: E731
    thread = threading.Thread(target=call, name=f"NCCL {how}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends: the process gives the communicator back
        return True
    thread.join(limit)
    return not thread.is_alive()
