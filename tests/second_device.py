"""A second device, ``second``, for machines without a GPU: its tensors do not mix with the CPU's, as a GPU's do not.

They lie in the CPU's memory, and its kernels compute on them, so that what is computed there is the same to the bit.
Loading this module makes the device, for good: tests load it in a process of its own, pytest by ``-p``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import library as operators
from torch.overrides import TorchFunctionMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from prolepsis.experiments import nearest_tokens
from prolepsis.running import batching

NAME = "second"
COPIES = frozenset({"aten::copy_", "aten::_to_copy"})
"""Operators that take tensors of both devices."""
INDEXED = frozenset({"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"})
"""Operators whose second argument, the indices, may lie on the CPU, as with a GPU."""


class SecondTensor(torch.Tensor):
    """A tensor that says it lies on the second device, around the one on the CPU that it is."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "SecondTensor":
        made: SecondTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    # Without it every operator would be wrapped a second time on its way here.
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        return run(operator, *arguments, **options or {})

    # What torch does with data in C++, where a device made in Python is not known.
    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu()")

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        return torch.tensor(data, **{"device": self.device, "dtype": self.dtype} | options)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_of_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_of_tensors(index), value)

    def __repr__(self, **_: Any) -> str:
        return f"{self.inner!r} on {self.device}"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else super().__format__(spec)


def _of_tensors(index: Any) -> Any:
    """An index with tensors in place of sequences."""

    def tensor(part: Any) -> Any:
        return torch.tensor(list(part)) if isinstance(part, Sequence) else part

    return tuple(map(tensor, index)) if isinstance(index, tuple) else tensor(index)


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    """``change`` of every value that is no list or tuple, in lists and tuples of theirs."""
    if isinstance(values, list | tuple):
        parts = [_each(value, change) for value in values]
        return parts if isinstance(values, list) else tuple(parts)
    return change(values)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, SecondTensor) else value


def run(operator: Any, *arguments: Any, **options: Any) -> Any:
    """What an operator gives on the CPU, on the device where it was asked; raises RuntimeError where they mix."""
    name, given = operator._schema.name, list[Any]()
    _each((arguments, list(options.values())), given.append)
    ours = [value for value in given if isinstance(value, SecondTensor)]
    if ours and name not in COPIES:
        _refuse_others(name, given, arguments[1] if name in INDEXED else ())
    device, generator = options.get("device"), options.get("generator")
    there = bool(ours) if device is None else torch.device(device).type == NAME
    if generator is not None and (generator._cdata in Generator.second) != there:
        raise RuntimeError(f"Expected a generator of the device the values are drawn on ({name})")
    if device is not None and there:
        options["device"] = torch.device("cpu")

    def outer(value: Any) -> Any:
        return _outer(value, ours) if there and isinstance(value, torch.Tensor) else value

    return _each(
        operator(*_each(arguments, _inner), **{key: _each(value, _inner) for key, value in options.items()}), outer
    )


def _refuse_others(name: str, given: Sequence[Any], indices: Sequence[Any]) -> None:
    """Raise RuntimeError for tensors of the CPU among those given to an operator, single numbers and indices apart."""
    allowed = {id(index) for index in indices if index is not None}
    for value in given:
        others = isinstance(value, torch.Tensor) and not isinstance(value, SecondTensor) and id(value) not in allowed
        if others and value.dim():
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu ({name})")


def _outer(value: torch.Tensor, given: Sequence[SecondTensor]) -> SecondTensor:
    """The tensor around a result: the one that was given where it was changed in place, its shape with it."""
    for one in given:
        if one.inner is value:
            if one.shape != value.shape or one.stride() != value.stride():
                one.data = SecondTensor(value)
            return one
    return SecondTensor(value)


class Generator(torch.Generator):
    """A generator of random numbers, for the second device where that is asked."""

    second: dict[int, torch.Generator] = {}  # noqa: RUF012
    """Those for the second device by their address in C++, which is all that an operator is given of them."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        second = torch.device(device).type == NAME
        made = super().__new__(cls, "cpu" if second else device)
        if second:
            cls.second[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        """Everything is done where it is made."""


class _Makers(TorchFunctionMode):
    """``torch.tensor`` for the device: it reads data in C++, where a device made in Python is not known."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        device = options.get("device")
        if function is torch.tensor and device is not None and torch.device(device).type == NAME:
            return torch.tensor(*arguments, **options | {"device": "cpu"}).to(device)
        return function(*arguments, **options)


class _Module(_DummyBackendModule):
    """What is asked of ``torch.second``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Rotations of older transformers leave out autocast, for which it has to be there."""
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
_OPERATORS = operators.Library("_", "IMPL")
_OPERATORS.fallback(run, "PrivateUse1")
_Makers().__enter__()
torch.Generator = Generator  # type: ignore[misc]
nearest_tokens.HALVES_ON |= {NAME}
batching.TOKENS_PER_BATCH[NAME] = batching.TOKENS_PER_BATCH["cpu"]
batching.MOST_BYTES[NAME] = batching.MOST_BYTES["cpu"]
