"""What an ended run returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from callmesh import _blobs, values
from callmesh._plain import Mismatch
from callmesh.errors import RuntimeDataValidationError
from callmesh.remote import _failures
from callmeshpb.v1 import scheduler_pb2


class ActionOutputs(tuple[Any, ...]):
    """What a run returned, as a tuple: one value or several. Also ``.o0``, ``.o1``, …"""

    names: tuple[str, ...]

    def __new__(cls, outputs: Sequence[Any], names: Sequence[str] = ()) -> ActionOutputs:
        made = super().__new__(cls, outputs)
        made.names = tuple(names) or tuple(f"o{index}" for index in range(len(outputs)))
        return made

    @property
    def named_outputs(self) -> dict[str, Any]:
        """The outputs by name."""
        return dict(zip(self.names, self, strict=True))

    def __getattr__(self, name: str) -> Any:
        if name != "names" and name in self.names:
            return self[self.names.index(name)]
        if name.startswith("o") and name[1:].isdigit() and int(name[1:]) < len(self):
            return self[int(name[1:])]
        raise AttributeError(name)


async def result_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> Any:
    """What an ended run returned: a value or a tuple. Raises why it failed."""
    if record.phase != scheduler_pb2.RUN_PHASE_SUCCEEDED:
        raise _failures.error_of(record, trusted=function is not None)
    outputs = await _blobs.fetched(record.outputs)
    try:
        return values.decode_outputs(outputs, is_tuple=record.outputs_is_tuple, function=function)
    except Mismatch as problem:
        raise RuntimeDataValidationError(f"the result of run `{record.name}` {problem}") from None


async def outputs_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> ActionOutputs:
    """What an ended run returned, as a tuple. Raises why it failed."""
    result = await result_of(record, function)
    if not record.outputs_is_tuple:
        return ActionOutputs((result,))
    return ActionOutputs(result, getattr(result, "_fields", ()))
