"""A module that is not supported says so by its name."""

from __future__ import annotations

import pytest

import callmesh as flyte


def test_prefetch_says_by_name_that_it_is_not_supported() -> None:
    with pytest.raises(ImportError, match=r"`callmesh\.prefetch\.hf_model` is not supported"):
        _ = flyte.prefetch.hf_model


def test_its_names_cannot_be_imported_either() -> None:
    with pytest.raises(ImportError, match="not supported"):
        from callmesh.prefetch import hf_model  # noqa: F401
