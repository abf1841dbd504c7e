"""Pushed to devices beside the runner: per-operator times of LiteRT, through the C API of its library. Python 3.8 syntax.

The Python classes have no profiler, `libLiteRt.so` in the same wheel has one. Its structures are documented nowhere, so
only the versions are read that they were checked with. Sources: litert/c/litert_profiler.h, litert_profiler_event.h,
litert/c/options/litert_cpu_options.cc of github.com/google-ai-edge/LiteRT.
"""

import ctypes
import os
from typing import Any, Dict, Iterable, List, Optional, Tuple

Row = Tuple[str, str, str, float]
CHECKED = ("2.3.",)
HOW = "LiteRT's profiler (C API of libLiteRt.so), whole microseconds; kernel is the delegate, or LiteRT's own"
CPU = 1
OPERATOR, DELEGATED = 2, 8  # tflite/core/api/profiler.h: OPERATOR_INVOKE_EVENT, DELEGATE_OPERATOR_INVOKE_EVENT
KERNELS = {"on": "xnnpack", "off": "builtin"}
Handle = ctypes.c_void_p
Index = ctypes.c_size_t
Release = ctypes.CFUNCTYPE(None, Handle)


class Event(ctypes.Structure):
    """ProfiledEventData; its memory figures are not filled on Linux."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("node", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


def unavailable(runner: Any) -> Optional[str]:
    """Why these times are not to be had here, or None."""
    package, version = next(iter(runner.version().items()))
    if package != "ai-edge-litert":
        return "%s has no profiler: install ai-edge-litert" % package
    if not version.startswith(CHECKED):
        return "LiteRT's profiler is read in versions %s only, here is %s" % (", ".join(CHECKED) + "x", version)
    return None if os.path.exists(library_file(runner)) else "this wheel of ai-edge-litert has no libLiteRt.so"


def library_file(runner: Any) -> str:
    return os.path.join(os.path.dirname(runner.runtime.__file__), "libLiteRt.so")


def profile(runner: Any, path: str, threads: int, options: Dict[str, str], feed: Iterable[List[Any]]) -> List[List[Row]]:
    """The operators of each query: XNNPACK's kernels by their names, others by the model's."""
    compiled = Compiled(library_file(runner), path, threads, KERNELS[options.get("xnnpack", "on")])
    return [compiled.query(arrays) for arrays in feed]


class Compiled:
    """A model of the C API with its profiler. Nothing is freed: it lives as long as the process, which does nothing else."""

    def __init__(self, library: str, path: str, threads: int, kernels: str) -> None:
        self.library, self.kept = ctypes.CDLL(library), []  # type: ignore[var-annotated]
        self.environment = self.made("LiteRtCreateEnvironment", 0, None)
        model = self.made("LiteRtCreateModelFromFile", self.environment, path.encode())
        self.model = self.made("LiteRtCreateCompiledModel", self.environment, model, self.options(threads, kernels))
        self.signature = self.made("LiteRtGetModelSignature", model, Index(0))
        self.inputs, self.outputs = self.buffers("Input"), self.buffers("Output")
        self.profiler = self.made("LiteRtCompiledModelGetProfiler", self.model)

    def query(self, arrays: List[Any]) -> List[Row]:
        """Run once; what its operators took."""
        for buffer, array in zip(self.inputs, arrays):
            self.write(buffer, array)
        self.call("LiteRtResetProfiler", self.profiler)
        self.call("LiteRtStartProfiler", self.profiler)
        counts = Index(len(self.inputs)), Index(len(self.outputs))
        self.call("LiteRtRunCompiledModel", self.model, Index(0), counts[0], self.inputs, counts[1], self.outputs)
        self.call("LiteRtStopProfiler", self.profiler)
        return [row(event) for event in self.events() if event.kind in (OPERATOR, DELEGATED)]

    def events(self) -> Any:
        count = ctypes.c_int()
        self.call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(count))
        events = (Event * count.value)()
        self.call("LiteRtGetProfilerEvents", self.profiler, count, events)
        return events

    def write(self, buffer: Any, array: Any) -> None:
        address, data = Handle(), array.tobytes()
        self.call("LiteRtLockTensorBuffer", Handle(buffer), ctypes.byref(address), 1)  # 1: to write
        ctypes.memmove(address, data, len(data))
        self.call("LiteRtUnlockTensorBuffer", Handle(buffer))

    def options(self, threads: int, kernels: str) -> Any:
        options = self.made("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        self.add(options, "runtime_options_string", "enable_profiling = true\n")
        self.add(options, "xnnpack", 'num_threads = %d\nkernel_mode = "%s"\n' % (threads, kernels))
        return options

    def add(self, options: Any, identifier: str, toml: str) -> None:
        text, release = ctypes.create_string_buffer(toml.encode()), Release(lambda _: None)
        self.kept += [text, release]  # the library reads them later
        self.call("LiteRtAddOpaqueOptions", options, self.made("LiteRtCreateOpaqueOptions", identifier.encode(), text, release))

    def buffers(self, side: str) -> Any:
        """An array of buffers as the compiled model wants them, for its inputs or outputs."""
        count, kind = Index(), ctypes.create_string_buffer(512)
        self.call("LiteRtGetNumSignature%ss" % side, self.signature, ctypes.byref(count))
        found = (Handle * count.value)()
        for i in range(count.value):
            tensor = self.made("LiteRtGetSignature%sTensorByIndex" % side, self.signature, Index(i))
            self.call("LiteRtGetRankedTensorType", tensor, kind)
            wanted = self.made("LiteRtGetCompiledModel%sBufferRequirements" % side, self.model, Index(0), Index(i))
            found[i] = self.made("LiteRtCreateManagedTensorBufferFromRequirements", self.environment, kind, wanted)
        return found

    def made(self, function: str, *arguments: Any) -> Any:
        """What the function puts into its last argument."""
        handle = Handle()
        self.call(function, *arguments, ctypes.byref(handle))
        return handle

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.library, function)(*arguments)
        if status:
            raise RuntimeError("%s answered with status %d" % (function, status))


def row(event: Any) -> Row:
    kernel = "XNNPACK" if event.kind == DELEGATED else "LiteRT"
    return "node %d" % event.node, event.tag.decode(errors="replace"), kernel, float(event.elapsed_us)
