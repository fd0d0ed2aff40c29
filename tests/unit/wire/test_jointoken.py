"""The join token's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callmesh_wire import jointoken
from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.jointoken import JoinToken

TOKEN = JoinToken("s" * 32, "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert jointoken.read(written(tmp_path / "t", TOKEN.text())) == TOKEN
    assert "sss" not in repr(TOKEN)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN.text(), 0o644, "can be read by others (mode 644)"),
        (TOKEN.text(), 0o440, "can be read by others (mode 440)"),
        ("", 0o600, "holds no join token"),
        ("callmesh-join-1 short\n" + TOKEN.certificate, 0o600, "holds no join token"),
        (TOKEN.text().replace("join-1", "join-2"), 0o600, "holds no join token"),
        (TOKEN.text()[:-10], 0o600, "holds no join token"),
        ("callmesh-join-1 " + "s" * 32 + "\n", 0o600, "holds no join token"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(FailedPreconditionError) as refused:
        jointoken.read(written(tmp_path / "t", text, mode))
    assert said in str(refused.value)
    assert str(tmp_path / "t") in str(refused.value)


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="does not exist"):
        jointoken.read(tmp_path / "none")
    with pytest.raises(FailedPreconditionError, match="cannot be read"):
        jointoken.read(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FailedPreconditionError, match="it is not text"):
        jointoken.read(binary)


def test_a_file_that_root_has_made_for_a_group_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = written(tmp_path / "t", TOKEN.text(), 0o440)
    monkeypatch.setattr(os, "geteuid", lambda: mounted.stat().st_uid + 1)
    assert jointoken.read(mounted) == TOKEN
    mounted.chmod(0o444)
    with pytest.raises(FailedPreconditionError, match=r"can be read by others \(mode 444\)"):
        jointoken.read(mounted)
