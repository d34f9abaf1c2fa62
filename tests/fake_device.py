"""A fake device, for tests without a GPU: its tensors hold their values on the host, but refuse what a GPU refuses.

An operation on tensors of two devices raises, and so does ``numpy()``; results are those of a CPU, to the bit. It knows
nothing of CUDA's own kernels, memory or speed, and an error in a backward pass ends the process: torch's guard of a
device in Python lets no error pass. It is a pytest plugin (``-p tests.fake_device``) for a process of its
own: torch takes one further device per process, and both patches must be there before darwin_mri is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "fake"
ROOM = 2**36  # bytes free where no limit is set
WAITS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
INDEXED = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
)  # with a mask, both must know how many of its values are set


class Backend(_DummyBackendModule):
    """The module that torch asks about the device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Of autocast, which activation checkpointing enters to run a layer again, also where it is off."""
        return [torch.bfloat16]


torch.inference_mode = lambda mode=True: torch.no_grad()  # tensors of a subclass cannot be split in inference mode
torch.__future__.set_swap_module_params_on_conversion(True)  # or a tied head is untied by ``model.to``
_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)


class Memory:
    """The bytes of the storages that tensors on the device hold, counted while ``counted`` is open."""

    def __init__(self) -> None:
        self.limit, self.live, self.peak, self._counts = 0, 0, 0, False
        self._owners: dict[int, int] = {}  # storage -> tensors that hold it

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.live, self.peak, self._counts = 0, 0, True
        self._owners.clear()
        try:
            yield
        finally:
            self._counts, self.limit = False, 0

    def free(self) -> int:
        return self.limit - self.live if self.limit else ROOM

    def add(self, tensor: FakeTensor) -> None:
        if not self._counts:
            return
        storage = tensor.host.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._owners.get(key):
            if self.limit and self.live + size > self.limit:
                raise torch.OutOfMemoryError(f"{size} bytes more than the device's {self.limit}")
            self.live += size
            self.peak = max(self.peak, self.live)
        self._owners[key] = self._owners.get(key, 0) + 1
        tensor.claim = Claim(self, key, size)

    def release(self, key: int, size: int) -> None:
        self._owners[key] = self._owners.get(key, 1) - 1
        if self._owners[key] <= 0:
            del self._owners[key]
            self.live -= size


class Claim:
    """A tensor's share in a storage, gone with the tensor. Not a weak reference: torch swaps no tensor that has one."""

    def __init__(self, memory: Memory, key: int, size: int) -> None:
        self.memory, self.key, self.size = memory, key, size

    def __del__(self) -> None:
        self.memory.release(self.key, self.size)


MEMORY = Memory()


class FakeTensor(torch.Tensor):
    """A tensor whose values are those of ``host``, a tensor on the host."""

    host: torch.Tensor
    claim: Claim
    waits = 0  # how often the host would have waited for a device to read a value
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> FakeTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        tensor.host = host
        MEMORY.add(tensor)
        return tensor

    def __repr__(self) -> str:
        return f"FakeTensor({self.host})"

    # Torch's own versions refuse a subclass, or return nothing.
    def tolist(self) -> Any:
        FakeTensor.waits += 1
        return self.host.tolist()

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.host.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values, shape = tree_flatten((args, kwargs or {}))
        inputs = {id(t.host): t for t in values if isinstance(t, cls)}
        on_host = [t for t in values if isinstance(t, torch.Tensor) and not isinstance(t, cls) and t.dim()]
        to_host = func is torch.ops.aten.copy_.default and not isinstance(args[0], cls)
        masked = func in INDEXED and any(
            t.dtype == torch.bool for t in values if isinstance(t, cls) and t is not args[0]
        )
        cls.waits += func in WAITS or to_host or masked
        if func is torch.ops.aten.copy_.default:  # the one that may go from device to device
            _host(args[0]).copy_(_host(args[1]))
            return args[0]
        if on_host:
            raise RuntimeError(f"{func}: tensors on {DEVICE} and {on_host[0].device}")
        args, options = tree_unflatten([_host(value) for value in values], shape)
        target = options.pop("device", None)
        out = func(*args, **options)
        if target is not None and torch.device(target).type != NAME:
            cls.waits += 1
            return out
        hosts = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        outputs = {t: inputs[id(t)] if id(t) in inputs else cls(t) for t in hosts}
        return tree_map_only(torch.Tensor, outputs.__getitem__, out)


def _host(x: Any) -> Any:
    return x.host if isinstance(x, FakeTensor) else x


_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return FakeTensor(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return FakeTensor(torch.empty(size, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _host(target).copy_(_host(source))
    return target


for name, function in (("empty_strided", _empty_strided), ("empty.memory_format", _empty), ("_copy_from", _copy_from)):
    _LIBRARY.impl(name, function, "PrivateUse1")

from darwin_mri.checkpoints import devices  # noqa: E402  # not before the patches above

devices.resolve_device = lambda device: device if device == "cpu" else str(DEVICE)
devices.free_memory = lambda device: MEMORY.free()
devices.device_memory = lambda device: None if str(device) == "cpu" else MEMORY.limit or ROOM
