"""Code on disk: safe, whole, shared."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile

import pytest

from callmesh_agent import shelf
from callmesh_agent.blobs import Blobs
from callmesh_agent.retention import BUNDLE_SECONDS
from callmesh_agent.workspace import Workspace
from callmesh_wire.errors import CallmeshError, DataLossError, FailedPreconditionError
from callmeshpb.v1 import common_pb2


class Store:
    """Blobs by digest, counting how often each was fetched."""

    def __init__(self):
        self.blobs = {}
        self.fetched = []

    def add(self, content):
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    async def download(self, digest):
        self.fetched.append(digest)
        await asyncio.sleep(0)
        yield self.blobs[digest]


def archive(*members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    return member


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def workspace(tmp_path, store):
    return Workspace(tmp_path / "bundles", Blobs(tmp_path / "blobs", 0, store, set))


async def test_a_bundle_is_unpacked_once(workspace, store, tmp_path):
    digest = store.add(archive((tarfile.TarInfo("pkg/mod.py"), b"x = 1")))
    await workspace.unpack(digest)
    await workspace.unpack(digest)
    root = workspace.directory(common_pb2.Code(bundle=digest))
    assert root == str(tmp_path / "bundles" / digest)
    assert (tmp_path / "bundles" / digest / "pkg" / "mod.py").read_bytes() == b"x = 1"
    assert store.fetched == [digest]


async def test_two_at_once_end_with_one_folder(workspace, store, tmp_path):
    digest = store.add(archive((tarfile.TarInfo("a.py"), b"")))
    await asyncio.gather(workspace.unpack(digest), workspace.unpack(digest))
    kept = [p.name for p in (tmp_path / "bundles").iterdir() if not p.name.startswith(".")]
    assert kept == [digest]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (tarfile.TarInfo("../evil.py"), "`../evil.py` leads out of it"),
        (tarfile.TarInfo("/tmp/evil.py"), "`/tmp/evil.py` leads out of it"),
        (link("l", "/etc/passwd"), "`l` is neither a file nor a folder"),
    ],
)
async def test_nothing_is_written_outside_of_it(workspace, store, tmp_path, member, said):
    digest = store.add(archive((member, b"")))
    with pytest.raises(DataLossError, match=said):
        await workspace.unpack(digest)
    assert list((tmp_path / "bundles").iterdir()) == []
    assert not (tmp_path / "evil.py").exists()


async def test_no_python_newer_than_3_11_0_is_needed(workspace, store, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    script = tarfile.TarInfo("bin/run.sh")
    script.mode = 0o4777
    digest = store.add(archive((script, b"true"), (tarfile.TarInfo("a.py"), b"x = 1")))
    await workspace.unpack(digest)
    root = tmp_path / "bundles" / digest
    assert (root / "a.py").read_bytes() == b"x = 1"
    modes = [(root / name).stat().st_mode & 0o7777 for name in ("bin/run.sh", "a.py")]
    assert modes == [0o755, 0o644]


async def test_a_link_that_is_there_already_leads_nowhere(workspace, store, tmp_path):
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "out").symlink_to(tmp_path)
    ref = common_pb2.BlobRef(
        digest=store.add(archive((tarfile.TarInfo("out/evil.py"), b""))), media="bundle"
    )
    with pytest.raises(DataLossError, match="leads out of it"):
        await workspace.place(ref, "data", "", tmp_path / "own")
    assert not (tmp_path / "evil.py").exists()


async def test_what_is_not_an_archive_leaves_nothing(workspace, store, tmp_path):
    digest = store.add(b"not a tar")
    with pytest.raises(DataLossError):
        await workspace.unpack(digest)
    assert list((tmp_path / "bundles").iterdir()) == []


async def test_a_digest_is_no_path(workspace):
    with pytest.raises(CallmeshError):
        await workspace.unpack("../../etc")


async def test_a_parameters_file_is_put_at_its_mount(workspace, store, tmp_path):
    ref = common_pb2.BlobRef(digest=store.add(b"weights"), media="file")
    mount = tmp_path / "models" / "model.bin"
    assert await workspace.place(ref, "model", str(mount), tmp_path / "own") == str(mount)
    assert mount.read_bytes() == b"weights"
    (tmp_path / "folder").mkdir()
    placed = await workspace.place(ref, "model", str(tmp_path / "folder"), tmp_path / "own")
    assert placed == str(tmp_path / "folder" / "model")
    assert await workspace.place(ref, "model", "", tmp_path / "own") == str(
        tmp_path / "own" / "model"
    )


async def test_a_parameters_folder_is_unpacked(workspace, store, tmp_path):
    content = archive((tarfile.TarInfo("a.txt"), b"1"))
    ref = common_pb2.BlobRef(digest=store.add(content), media="bundle")
    placed = await workspace.place(ref, "data", "", tmp_path / "own")
    assert (tmp_path / "own" / "data" / "a.txt").read_bytes() == b"1"
    assert placed == str(tmp_path / "own" / "data")


async def test_a_mount_that_cannot_be_written_is_named(workspace, store, tmp_path):
    ref = common_pb2.BlobRef(digest=store.add(b"x"), media="file")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FailedPreconditionError, match="`model` cannot be put at"):
        await workspace.place(ref, "model", str(tmp_path / "file" / "x"), tmp_path)


async def test_what_nobody_used_for_a_week_is_removed(workspace, store, tmp_path):
    used = store.add(archive((tarfile.TarInfo("a.py"), b"1")))
    unused = store.add(archive((tarfile.TarInfo("a.py"), b"2")))
    for digest in (used, unused):
        await workspace.unpack(digest)
    folder = tmp_path / "bundles"
    entries = workspace.entries()
    assert set(entries) == {used, unused}
    now = entries[used].used_at

    def surplus(later: float) -> list[str]:
        return shelf.surplus(entries, {used}, now + later, cap=100, keep_seconds=BUNDLE_SECONDS)

    assert surplus(BUNDLE_SECONDS - 10) == []
    assert surplus(BUNDLE_SECONDS + 10) == [unused]
    shelf.discard(folder, [unused])
    assert set(workspace.entries()) == {used}
    shelf.free(folder)
    assert {each.name for each in folder.glob(f"*{unused}")} == set()
    await workspace.unpack(unused)
    assert (folder / unused / "a.py").read_bytes() == b"2"
