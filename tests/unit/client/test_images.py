"""Which Python an image gets, of those that the nodes have."""

from __future__ import annotations

import pytest

import callmesh as flyte
from callmesh import _images
from callmesh._images import Pythons
from callmesh._satisfied import running_python
from callmesh.errors import ImageBuildError
from callmesh.requirements import Resolved

MINOR = int(running_python().partition(".")[2])


def lock(image: Resolved, pythons: Pythons) -> tuple[Resolved, list[str]]:
    env = flyte.TaskEnvironment("pythons")
    made, notices = _images.lock({env: image}, pythons)
    return made[env], notices


def test_what_the_files_say_chooses_the_nearest_python() -> None:
    assert _images.wanted_python(Resolved(())) == running_python()
    assert _images.wanted_python(Resolved((), python_version="3.14")) == "3.14"
    newer = Resolved((), requires_python=(f">=3.{MINOR + 1}",))
    assert _images.wanted_python(newer) == f"3.{MINOR + 1}"
    both = Resolved((), requires_python=(">=3.11", f"<3.{MINOR + 1}"))
    assert _images.wanted_python(both) == running_python()
    patch = Resolved((), requires_python=(f">=3.{MINOR}.1",))
    assert _images.wanted_python(patch) == running_python()
    with pytest.raises(ImageBuildError, match="no Python that callmesh runs on"):
        _images.wanted_python(Resolved((), requires_python=("<3.11",)))
    with pytest.raises(ImageBuildError, match="cannot be read"):
        _images.wanted_python(Resolved((), requires_python=("what?",)))


def test_what_this_interpreter_satisfies_needs_no_lock() -> None:
    made, notices = lock(Resolved(("httpx", "flyte>=2")), Pythons())
    assert (made.lock, made.lock_python, notices) == ((), "", [])


def test_a_laptop_uses_the_nearest_and_a_cluster_refuses() -> None:
    asked = Resolved((), python_version="3.99")
    made, (notice,) = lock(asked, Pythons((running_python(),)))
    assert (made.lock, made.python_version) == ((), running_python())
    assert notice.endswith(f"uses {running_python()}, the nearest that this node has")
    with pytest.raises(ImageBuildError, match=r"3\.99, which no node has; they have"):
        lock(asked, Pythons((running_python(),), lenient=False))


def test_a_built_environment_says_nothing_about_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_images.BUILT_VARIABLE, "key")
    assert _images._is_lacking(Resolved(("httpx",)))
    assert not _images._is_lacking(Resolved(()))
