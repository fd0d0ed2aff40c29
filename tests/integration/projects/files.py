"""Files, directories and frames from task to task, and as parameters of an app."""

import os
import pathlib
import resource
import tempfile
from dataclasses import dataclass

import fastapi
import pandas as pd

import callmesh as flyte
from callmesh.app import Parameter, RunOutput
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.io import DataFrame, Dir, File

env = flyte.TaskEnvironment(name="files")


@dataclass
class Both:
    file: File
    folder: Dir | None = None


@env.task
async def write(content: str) -> File:
    file = File.new_remote("a.txt")
    async with file.open("wb") as opened:
        await opened.write(content.encode())
    return file


@env.task
async def read(file: File) -> str:
    assert await file.exists()
    async with file.open("rb") as opened:
        awaited = (await opened.read()).decode()
    async with file.open("r") as opened:
        assert opened.read() == awaited
    return awaited


@env.task
def read_sync(file: File[str]) -> str:
    with file.open_sync("r") as opened:
        content = opened.read()
    assert pathlib.Path(file.download_sync()).read_text() == content
    return content


@env.task
async def copies(file: File, folder: Dir) -> list[str]:
    """Where it put copies that it was given no place for."""
    places = [await file.download(), file.download_sync(), await folder.download()]
    assert all(pathlib.Path(each).exists() for each in places)
    return places


@env.task
async def copied() -> list[str]:
    return await copies(await write("hello"), await make_folder())


@env.task
async def make_folder() -> Dir:
    root = pathlib.Path(tempfile.mkdtemp())
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "one.txt").write_text("one")
    (root / "two.txt").write_text("two")
    (root / "sub" / "deep" / "three.bin").write_bytes(b"\0\xff")
    return await Dir.from_local(root)


@env.task
async def look(folder: Dir) -> dict:
    one = await folder.get_file("one.txt")
    async with one.open("r") as opened:
        text = await opened.read()
    copy = pathlib.Path(await folder.download())
    return {
        "walked": [each.name async for each in folder.walk()],
        "listed": [each.name for each in await folder.list_files()],
        "text": text,
        "copied": sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file()),
        "missing": await folder.get_file("nothing"),
    }


@env.task
async def parent() -> dict:
    file, folder = await write("hello"), await make_folder()
    return {
        "read": await read(file),
        "sync": await read_sync.aio(file),
        "look": await look(folder),
        "nested": await nested([Both(file, folder), Both(file)]),
    }


@env.task
async def nested(both: list[Both]) -> list[str]:
    return [await read.forward(each.file) for each in both]


@env.task
async def big(mib: int) -> tuple[File, int]:
    """A large file, and the most memory in MiB that this process has had."""
    path = pathlib.Path(tempfile.mkdtemp()) / "big.bin"
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    stored = await File.from_local(path)
    path.unlink()
    return stored, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


@env.task
async def frame(rows: int) -> DataFrame:
    return await DataFrame.from_local(pd.DataFrame({"a": range(rows)}))


@env.task
async def total(frame: DataFrame) -> int:
    return int((await frame.open(pd.DataFrame).all())["a"].sum())


@env.task
async def large(size: int) -> str:
    return "x" * size


@env.task
async def length(text: str) -> int:
    return len(text)


web = fastapi.FastAPI()
app = FastAPIAppEnvironment(
    name="files-app",
    app=web,
    requires_auth=False,
    env_vars={"FILES_MOUNT": os.environ.get("FILES_MOUNT", "/nowhere")},
)
if "FILES_RUN" in os.environ:  # at deploy
    mount = os.environ["FILES_MOUNT"]
    app.parameters = [
        Parameter("plain", File(path=f"{mount}/source.txt"), env_var="PLAIN"),
        Parameter("placed", RunOutput(type="file", task_name="files.write"), mount=f"{mount}/in/"),
        Parameter(
            "folder",
            RunOutput(type="directory", run_name=os.environ["FILES_RUN"]),
            mount=f"{mount}/folder",
            ignore_patterns=["two.*"],
        ),
        Parameter("reference", RunOutput(type="file", task_name="files.write"), download=False),
    ]


@web.get("/")
def show() -> dict:
    root = pathlib.Path(os.environ["FILES_MOUNT"])
    with File(path=flyte.app.get_parameter("reference")).open_sync("r") as opened:
        reference = opened.read()
    return {
        "plain": pathlib.Path(os.environ["PLAIN"]).read_text(),
        "placed": flyte.app.get_parameter("placed"),
        "content": (root / "in" / "a.txt").read_text(),
        "folder": sorted(
            str(path.relative_to(root / "folder"))
            for path in (root / "folder").rglob("*")
            if path.is_file()
        ),
        "reference": reference,
    }
