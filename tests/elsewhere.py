"""A device that is not there, for tests where no GPU is: tensors on ``elsewhere:0`` hold their values on the host, but refuse what a GPU refuses.

An operation on tensors of two devices raises, and so does ``numpy()``; results are those of a CPU, to the bit. It knows nothing of
CUDA's own kernels, memory or speed. A pytest plugin (``-p tests.elsewhere``), in a process of its own: torch takes one further device
per process, and both patches must be there before darwin_mri is imported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
ROOM = 2**36  # bytes said to be free
WAITS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)  # by a mask, they ask how many it has

torch.inference_mode = lambda mode=True: torch.no_grad()  # tensors of a subclass cannot be split in inference mode
torch.__future__.set_swap_module_params_on_conversion(True)  # or a tied head is untied by ``model.to``
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)


class Elsewhere(torch.Tensor):
    """A tensor whose values are those of ``here``, a tensor on the host."""

    here: torch.Tensor
    waits = 0  # how often the host would have waited for a device to read a value
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=DEVICE
        )  # fmt: skip
        made.here = here
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.here})"

    # What torch's own would refuse of a subclass, or answer with nothing.
    def tolist(self) -> Any:
        Elsewhere.waits += 1
        return self.here.tolist()

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.here.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values, shape = tree_flatten((args, kwargs or {}))
        here = {id(t.here): t for t in values if isinstance(t, cls)}
        left = [t for t in values if isinstance(t, torch.Tensor) and not isinstance(t, cls) and t.dim()]
        to_host = func is torch.ops.aten.copy_.default and not isinstance(args[0], cls)
        masked = func in INDEXED and any(
            t.dtype == torch.bool for t in values if isinstance(t, cls) and t is not args[0]
        )
        cls.waits += func in WAITS or to_host or masked
        if func is torch.ops.aten.copy_.default:  # the one that may go from device to device
            _host(args[0]).copy_(_host(args[1]))
            return args[0]
        if left:
            raise RuntimeError(f"{func}: tensors on {DEVICE} and {left[0].device}")
        args, options = tree_unflatten([_host(value) for value in values], shape)
        target = options.pop("device", None)
        out = func(*args, **options)
        if target is not None and torch.device(target).type != NAME:
            cls.waits += 1
            return out
        there = {t: here[id(t)] if id(t) in here else cls(t) for t in tree_leaves(out) if isinstance(t, torch.Tensor)}
        return tree_map_only(torch.Tensor, there.__getitem__, out)


def _host(x: Any) -> Any:
    return x.here if isinstance(x, Elsewhere) else x


_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return Elsewhere(torch.empty(size, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _host(target).copy_(_host(source))
    return target


for name, made in (("empty_strided", _empty_strided), ("empty.memory_format", _empty), ("_copy_from", _copy_from)):
    _LIBRARY.impl(name, made, "PrivateUse1")

from darwin_mri.checkpoints import devices  # noqa: E402  # not before the patches above

devices.resolve_device = lambda device: device if device == "cpu" else str(DEVICE)
devices.free_memory = lambda device: ROOM
