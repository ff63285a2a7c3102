"""A CUDA device without one: tensors that compute on the CPU and say that they are on `cuda:0`.

    with emulated_cuda() as gpu:
        train(..., device=gpu.device)
    gpu.launches, gpu.synchronisations, gpu.uploads      # counters by source line

Values are real, so that data-dependent shapes, `.item()` and backward passes work. Tensors of both devices mix as they
do on CUDA: only a CPU scalar, or CPU indices, may meet a tensor of the GPU; anything else raises `DeviceMismatchError`.
Counted are

- *launches*: operators that are not views and compute on the GPU, and the same by their names, `operators`. Some start
  several kernels, so it is a lower bound.
- *synchronisations*: what makes the CPU wait for the GPU: numbers and copies that are read back, shapes that depend on
  data.
- *uploads*: copies from the CPU to the GPU, and `pageable`, those of them whose memory is not pinned.
- *half*: launches that return 16-bit numbers, as autocast has them.

The lines are those of `mttsg_core`, the innermost first; what has none belongs to the line that called the library, so
that what autograd does counts for the line of `backward`.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils

import mttsg_core
from mttsg_core.modeling import proposals

CORE = str(Path(mttsg_core.__file__).parent) + "/"
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")

_aten = torch.ops.aten
_group_tensors = torch._C._group_tensors_by_device_and_dtype
_DEVICE, _IS_CUDA = vars(torch._C.TensorBase)["device"].__get__, vars(torch._C.TensorBase)["is_cuda"].__get__
# Operators whose CPU tensors may be indices of a tensor of the GPU; these are uploaded.
_INDEXING = {
    _aten.index.Tensor,
    _aten._unsafe_index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
}
_JOINING = {_aten.cat.default, _aten.stack.default}
_READS_BACK = """_local_scalar_dense is_nonzero equal nonzero masked_select multinomial bincount _unique2
    unique_dim unique_consecutive unique_dim_consecutive"""
_VIEWS = """view _unsafe_view _reshape_alias expand transpose permute t slice select unsqueeze squeeze detach alias
    unbind as_strided split split_with_sizes lift_fresh unfold diagonal"""
_EMPTY = "empty empty_like new_empty empty_strided new_empty_strided empty_permuted"
_REFUSED = """cumsum cumsum_ kthvalue median.dim nanmedian.dim histc put_ nll_loss2d_forward _ctc_loss_backward
    _adaptive_avg_pool2d_backward adaptive_max_pool2d_backward grid_sampler_2d_backward max_unpool2d
    reflection_pad1d_backward replication_pad1d_backward upsample_bilinear2d_backward upsample_linear1d_backward"""
_WAITING = frozenset(_READS_BACK.split())
_WITHOUT_LAUNCH = frozenset([*_VIEWS.split(), *_EMPTY.split()])
_NONDETERMINISTIC = frozenset(_REFUSED.split())  # floating-point numbers, while deterministic algorithms are required
_HALF = (torch.float16, torch.bfloat16)
_UPLOADING_FACTORIES = {"tensor", "as_tensor", "asarray"}


class DeviceMismatchError(RuntimeError):
    """Tensors of the CPU and of the GPU met in an operator where CUDA does not allow it."""


@dataclass
class EmulatedGPU:
    """What the emulated device did, by source line, see the module."""

    device: torch.device = CUDA
    launches: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    synchronisations: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    pageable: Counter[str] = field(default_factory=Counter)
    half: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Forget what has been counted."""
        for counter in vars(self).values():
            if isinstance(counter, Counter):
                counter.clear()

    def totals(self) -> dict[str, int]:
        """Return the number of launches, synchronisations, uploads and pageable uploads."""
        names = ("launches", "synchronisations", "uploads", "pageable")
        return {name: getattr(self, name).total() for name in names}

    def run(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run an operator on what the tensors hold, if CUDA allows it with these devices."""
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        on_gpu = any(isinstance(tensor, OnGPU) for tensor in tensors)
        joins = operator in _JOINING  # which allows not even a scalar of the CPU
        on_cpu = any(not isinstance(tensor, OnGPU) and (tensor.ndim or joins) for tensor in tensors)
        name = operator._schema.name.removeprefix("aten::")
        line = "" if name in _WITHOUT_LAUNCH else source_line()
        if operator is _aten.copy_.default:
            on_gpu = self._copy(args[0], args[1], line)
        elif operator in _INDEXING and on_gpu:
            self._index(operator, args, line)
        elif on_gpu and on_cpu:
            raise DeviceMismatchError(f"{name}: tensors of cuda:0 and cpu at {line}")
        if on_gpu and name not in _WITHOUT_LAUNCH:
            self.launches[line] += 1
            self.operators[name] += 1
            if name in _WAITING or (name == "repeat_interleave" and not kwargs.get("output_size")):
                self.synchronisations[line] += 1
            _refuse_nondeterministic(operator, name, tensors, line)
        result = operator(*_map(_held, args), **{key: _map(_held, value) for key, value in kwargs.items()})
        written = _written_argument(operator, args, kwargs)
        if written is not None and isinstance(result, Tensor):
            return written
        if on_gpu and name not in _WITHOUT_LAUNCH and any(tensor.dtype in _HALF for tensor in _tensors([result])):
            self.half[line] += 1
        return _map(_on_gpu, result) if on_gpu else result

    def upload(self, tensor: Tensor) -> Tensor:
        """Return a copy on the GPU, as `Tensor.to` does."""
        self._count_upload(tensor, source_line())
        return _Move.apply(tensor, True)  # type: ignore[no-untyped-call]

    def download(self, tensor: Tensor) -> Tensor:
        """Return a copy on the CPU, as `Tensor.cpu` does."""
        self.synchronisations[source_line()] += 1
        return _Move.apply(tensor, False)  # type: ignore[no-untyped-call]

    def make(self, factory: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make tensors on the GPU by a function that takes a `device`."""
        line, name = source_line(), factory.__name__
        if name in _UPLOADING_FACTORIES:
            self.uploads[line] += 1
            self.pageable[line] += 1
        elif not name.startswith(("empty", "new_empty")):
            self.launches[line] += 1
        return _map(_on_gpu, factory(*args, **{**kwargs, "device": "cpu"}))

    def _copy(self, target: Tensor, source: Tensor, line: str) -> bool:
        """Count a copy between the devices, and return whether its target is on the GPU."""
        if isinstance(target, OnGPU) and not isinstance(source, OnGPU):
            self._count_upload(source, line)
        if not isinstance(target, OnGPU) and isinstance(source, OnGPU):
            self.synchronisations[line] += 1
        return isinstance(target, OnGPU)

    def _index(self, operator: Any, args: tuple[Any, ...], line: str) -> None:
        """Count what indexing does beside its launch: a mask becomes indices, indices of the CPU are uploaded."""
        if not isinstance(args[0], OnGPU):
            raise DeviceMismatchError(f"a tensor of cpu indexed by one of cuda:0 at {line}")
        values = [value for value in args[2:] if isinstance(value, Tensor)]
        if any(not isinstance(value, OnGPU) and value.ndim for value in values):
            raise DeviceMismatchError(f"{operator}: values of cpu put into a tensor of cuda:0 at {line}")
        indices = [index for index in args[1] if index is not None]
        for index in indices:
            if not isinstance(index, OnGPU):
                self._count_upload(index, line)
        if any(index.dtype == torch.bool for index in indices):
            self.synchronisations[line] += 1

    def _count_upload(self, tensor: Tensor, line: str) -> None:
        self.uploads[line] += 1
        if not getattr(tensor, "is_emulated_pinned", False):
            self.pageable[line] += 1


_gpu: list[EmulatedGPU] = []  # the one in use, if any: operators reach it from inside of autograd


class OnGPU(Tensor):
    """A tensor that says it is on `cuda:0`, and holds its values on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGPU:
        with torch.inference_mode(held.is_inference()):  # a view of a tensor from outside that mode is none of it
            made: OnGPU = torch.Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=CPU,  # to C++, which could not run backward for cuda; `_Mode` says otherwise to Python
            )
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None:
        pass

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGPU({self.held})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = OnGPU(copy.deepcopy(self.held, memo))
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __array__(self, *args: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _gpu[-1].run(func, args, kwargs or {})


class _Move(torch.autograd.Function):
    """A copy from one device to the other, through which gradients flow back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: bool) -> Tensor:
        ctx.up = up
        return OnGPU(x.detach().clone()) if up else _held(x).detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        return (_held(gradient) if ctx.up else OnGPU(gradient)), None


class _Mode(TorchFunctionMode):
    """Lets Python see the devices, and turns moves between them into `upload` and `download`."""

    def __init__(self, gpu: EmulatedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == _DEVICE and isinstance(args[0], OnGPU):
            return CUDA
        if func == _IS_CUDA and isinstance(args[0], OnGPU):
            return True
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(func, args, kwargs)
        if func is Tensor.tolist and isinstance(args[0], OnGPU):
            self.gpu.synchronisations[source_line()] += 1
            return args[0].held.tolist()
        if func is Tensor.numpy and isinstance(args[0], OnGPU):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if getattr(func, "__name__", "") == "one_hot" and isinstance(args[0], OnGPU):
            self.gpu.synchronisations[source_line()] += 1  # it looks for values that are too large
            return OnGPU(func(args[0].held, *args[1:], **kwargs))
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            return self.gpu.make(func, args, kwargs)
        return func(*args, **kwargs)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """Run `to`, `cpu` and `cuda`: a move, and whatever else `to` was asked for."""
        x: Any = args[0]
        rest: list[Any] = []
        target = {Tensor.cpu: CPU, Tensor.cuda: CUDA}.get(func, kwargs.pop("device", None))
        for value in args[1:]:
            if isinstance(value, torch.device | str):
                target = value
            elif isinstance(value, Tensor):
                target = CUDA if isinstance(value, OnGPU) else CPU
                rest.append(value.dtype)
            else:
                rest.append(value)
        kwargs.pop("non_blocking", None)
        if target is not None:
            up = torch.device(target).type == "cuda"
            if up != isinstance(x, OnGPU):
                x = self.gpu.upload(x) if up else self.gpu.download(x)
        return x.to(*rest, **kwargs) if rest or kwargs else x


class _Autocast(torch.autocast):
    """The autocast of CUDA, by that of the CPU in the same 16-bit type: it casts before matrix products as well."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


@contextmanager
def emulated_cuda() -> Iterator[EmulatedGPU]:
    """Emulate one CUDA device with bfloat16 within a `with` block; yields what it does."""
    gpu = EmulatedGPU()
    of_cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
        "empty_cache": lambda: None,
        "device": lambda device: nullcontext(),
    }
    with ExitStack() as patches:
        for name, function in of_cuda.items():
            patches.enter_context(mock.patch.object(torch.cuda, name, function))
        patches.enter_context(mock.patch.object(torch, "autocast", _Autocast))
        patches.enter_context(mock.patch.object(nn.Module, "to", _move_module))
        patches.enter_context(mock.patch.object(Tensor, "pin_memory", _pin))
        patches.enter_context(mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", _grouped))
        kinds = [*_foreach_utils._foreach_supported_types, OnGPU]
        patches.enter_context(mock.patch.object(_foreach_utils, "_foreach_supported_types", kinds))
        _gpu.append(gpu)
        patches.callback(_gpu.pop)
        patches.callback(proposals._edges.cache_clear)  # it holds tensors of the device
        patches.enter_context(_Mode(gpu))
        yield gpu


def source_line() -> str:
    """Return the innermost line of the library that is being run, as `modeling/layers.py:12`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(CORE):
            return f"{name.removeprefix(CORE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


def _move_module(module: nn.Module, device: torch.device | str) -> nn.Module:
    """Move the parameters and buffers of a module, as `nn.Module.to` does."""
    up = torch.device(device).type == "cuda"
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and up != isinstance(parameter, OnGPU):
                moved = OnGPU(parameter.detach().clone()) if up else _held(parameter).detach().clone()
                part._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None and up != isinstance(buffer, OnGPU):
                part._buffers[name] = OnGPU(buffer.clone()) if up else _held(buffer).clone()
    return module


def _refuse_nondeterministic(operator: Any, name: str, tensors: list[Tensor], line: str) -> None:
    if not torch.are_deterministic_algorithms_enabled():
        return
    names = {name, f"{name}.{operator._overloadname}"}
    if names & _NONDETERMINISTIC and any(tensor.is_floating_point() for tensor in tensors):
        raise RuntimeError(f"{name} does not have a deterministic implementation, at {line}")


def _pin(tensor: Tensor) -> Tensor:
    """Return a copy that counts as pinned, as `Tensor.pin_memory` does; it is also called from other threads."""
    pinned = tensor.clone()
    pinned.is_emulated_pinned = True  # type: ignore[attr-defined]
    return pinned


def _grouped(tensors: Any, with_indices: bool = False) -> Any:
    """Group lists of tensors by device and type, with the device that they say they are on."""
    groups = _group_tensors(tensors, with_indices)
    is_on_gpu = any(isinstance(tensor, OnGPU) for tensor in tensors[0])
    return {(CUDA if is_on_gpu else device, dtype): group for (device, dtype), group in groups.items()}


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to an argument or a result, within lists to each entry."""
    if isinstance(value, list | tuple):
        return type(value)([_map(function, entry) for entry in value])
    return function(value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnGPU) else value


def _on_gpu(value: Any) -> Any:
    return OnGPU(value) if isinstance(value, Tensor) and not isinstance(value, OnGPU) else value


def _written_argument(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the argument that an operator writes to and returns, or None."""
    for position, argument in enumerate(operator._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = kwargs.get(argument.name) if argument.kwarg_only or position >= len(args) else args[position]
            if isinstance(given, Tensor):
                return given
    return None
