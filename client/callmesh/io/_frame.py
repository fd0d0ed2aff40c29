"""A data frame by reference, kept as Parquet."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pydantic

from callmesh._sync import bridge
from callmesh.io import _store
from callmesh.io._file import File
from callmesh_wire.errors import InvalidArgumentError

FRAMES = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table"}


class DataFrame(pydantic.BaseModel):
    """A table of pandas, Polars or PyArrow, whose content is read where it is opened.

    Needs `pyarrow` beside the library whose frames are written or read.
    """

    model_config = pydantic.ConfigDict(json_schema_extra={"x-callmesh": "dataframe"})

    file: File
    format: str = "parquet"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_plain(cls, value: Any) -> Any:
        if _library(type(value)):
            raise ValueError("a plain frame is stored first: pass `DataFrame.from_df(frame)`")
        return value

    @property
    def uri(self) -> str:
        """Where its content is."""
        return self.file.path

    @classmethod
    def from_df(cls, val: Any, uri: str | None = None) -> DataFrame:
        """Store a frame; a reference to its content as it is then.

        Raises `InvalidArgumentError` for what is not a frame, `ModuleNotFoundError`
        without `pyarrow`. ``uri`` has no meaning here: content is named by its hash.
        """
        return cls.from_local_sync(val, uri)

    @classmethod
    async def from_local(cls, df: Any, uri: str | None = None) -> DataFrame:
        """`from_df` for async code."""
        del uri
        with _store.scratch() as folder:
            path = folder / "frame.parquet"
            await asyncio.to_thread(_write, df, path)
            return cls(file=await File.from_local(path))

    @classmethod
    def from_local_sync(cls, df: Any, uri: str | None = None) -> DataFrame:
        """`from_df`."""
        return bridge().run(cls.from_local(df, uri))

    @classmethod
    def from_existing_remote(cls, remote_path: str, format: str | None = None) -> DataFrame:  # noqa: A002 - Flyte's
        """A reference to a Parquet file that is there: see `File.from_existing_remote`."""
        if format not in (None, "", "parquet"):
            raise InvalidArgumentError(
                f"`format` of a data frame must be `parquet`, not `{format}`: read other formats "
                "from a `File`"
            )
        return cls(file=File.from_existing_remote(remote_path))

    def open(self, dataframe_type: Any) -> Opened:
        """Choose what to read it as: ``await frame.open(pandas.DataFrame).all()``."""
        return Opened(self.file, dataframe_type)


class Opened:
    """A data frame that is about to be read as one kind."""

    def __init__(self, file: File, kind: Any) -> None:
        self._file = file
        self._kind = kind

    async def all(self) -> Any:
        """The whole frame. Raises `InvalidArgumentError` for a kind that is not known."""
        with _store.scratch() as folder:
            path = await self._file.download(folder / "frame.parquet")
            return await asyncio.to_thread(_read, Path(path), self._kind)

    def all_sync(self) -> Any:
        """`all` for blocking code."""
        return bridge().run(self.all())


def _write(frame: Any, path: Path) -> None:
    match _kind(type(frame)):
        case "pandas":
            frame.to_parquet(path)
        case "polars":
            frame.write_parquet(path)
        case "pyarrow":
            importlib.import_module("pyarrow.parquet").write_table(frame, path)


def _read(path: Path, kind: Any) -> Any:
    library = _kind(kind)
    if library == "pyarrow":
        return importlib.import_module("pyarrow.parquet").read_table(path)
    return importlib.import_module(library).read_parquet(path)


def _library(kind: type) -> str:
    """The library whose frames these are; "" for another type."""
    library = getattr(kind, "__module__", "").partition(".")[0]
    name = getattr(kind, "__name__", "")
    return library if FRAMES.get(library) == name else ""


def _kind(kind: type) -> str:
    if library := _library(kind):
        return library
    raise InvalidArgumentError(
        f"a data frame must be of pandas, Polars or PyArrow (a `Table`), not `{kind!r}`"
    )
