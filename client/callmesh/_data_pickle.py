"""Pickles that hold data alone: opened for whoever only asked for a result.

A pickle may name any function to be called as it is read, so one of a stranger
is not read. Python's own containers, dates and numbers, NumPy arrays and pandas
frames need only the names below, none of which runs code of the pickle's
choosing.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any

_PANDAS_INDEXES = (
    "CategoricalIndex DatetimeIndex Index IntervalIndex MultiIndex PeriodIndex RangeIndex "
    "TimedeltaIndex"
)
_PANDAS_TYPES = (
    "BooleanDtype CategoricalDtype DatetimeTZDtype Float32Dtype Float64Dtype Int16Dtype "
    "Int32Dtype Int64Dtype Int8Dtype IntervalDtype PeriodDtype StringDtype UInt16Dtype "
    "UInt32Dtype UInt64Dtype UInt8Dtype"
)
_NUMPY_CORE = "_reconstruct scalar"
_TABLE: dict[str, str] = {
    "builtins": "bytearray complex frozenset range set slice",
    "collections": "Counter OrderedDict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "numpy": "dtype ndarray",
    "numpy._core.multiarray": _NUMPY_CORE,
    "numpy.core.multiarray": _NUMPY_CORE,
    "numpy._core.numeric": "_frombuffer",
    "numpy.core.numeric": "_frombuffer",
    "pandas": f"Categorical DataFrame NA NaT Series {_PANDAS_INDEXES} {_PANDAS_TYPES}",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.missing": "NA",
    "pandas._libs.tslibs.nattype": "_nat_unpickle",
    "pandas._libs.tslibs.offsets": "Day Hour Minute Second",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas.arrays": (
        "ArrowStringArray BooleanArray DatetimeArray FloatingArray IntegerArray StringArray "
        "TimedeltaArray"
    ),
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.indexes.base": "_new_Index",
    "pandas.core.indexes.datetimes": "_new_DatetimeIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pathlib": "Path PosixPath PurePath PurePosixPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath",
    "pyarrow.lib": "_restore_array py_buffer type_for_alias",
    "uuid": "SafeUUID UUID",
}
_ALLOWED = {(module, name) for module, names in _TABLE.items() for name in names.split()}


# What a pickle raises that is damaged, or of another version of its library.
_DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
)


class NotData(Exception):
    """The pickle names something else than data. ``str()`` is its name."""


class Damaged(Exception):
    """The pickle cannot be read here. ``str()`` says why."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The object of that name, where it only makes data."""
        if (module, name) not in _ALLOWED:
            raise NotData(f"{module}.{name}")
        return getattr(importlib.import_module(module), name)


def loads(data: bytes) -> Any:
    """The value, where it is data alone.

    Raises `NotData`, `Damaged`, and `ImportError` for a library that this process
    lacks.
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except _DAMAGED as problem:
        raise Damaged(f"{type(problem).__name__}: {problem}") from None
