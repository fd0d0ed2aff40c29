"""A node's disk is looked at again, whatever was met there."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from callmesh_agent import retention
from callmesh_agent.blobs import Blobs
from callmesh_agent.config import AgentSettings
from callmesh_agent.environments import Environments
from callmesh_agent.retention import Retention
from callmesh_agent.workspace import Workspace


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "FIRST", 0.0)
    monkeypatch.setattr(retention, "EVERY", 0.01)
    return AgentSettings(
        state_dir=tmp_path / "state",
        runtime_dir=tmp_path / "run",
        ingress_port=0,
        version="0",
    )


@contextlib.asynccontextmanager
async def keeping(settings, in_use):
    """Retention at work; what it reports."""
    reports = asyncio.Queue()
    blobs = Blobs(settings.blobs_dir, settings.blobs_cap, None, set)
    kept = Retention(
        settings,
        Workspace(settings.bundles_dir, blobs),
        Environments(settings.environments_dir, settings.python, {}),
        blobs,
        reports.put_nowait,
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(kept.keep(in_use, lambda _: None))
        yield reports
        task.cancel()


async def test_what_cannot_be_removed_is_tried_again(settings):
    looks = []

    def in_use():
        looks.append(1)
        if len(looks) == 1:
            raise OSError(28, "No space left on device")
        return set()

    async with keeping(settings, in_use) as reports:
        assert [each.kind for each in await reports.get()] == [
            "environments",
            "bundles",
            "logs",
            "blobs",
        ]


async def test_logs_that_grow_are_told_with_the_rest_only(settings, monkeypatch):
    monkeypatch.setattr(retention, "LOOKS", 10_000)
    log = settings.logs_dir / "app" / "web.log"
    log.parent.mkdir(parents=True)
    async with keeping(settings, set) as reports:
        await reports.get()
        log.write_bytes(b"x" * 10)
        await asyncio.sleep(0.1)
        assert reports.empty()
        (settings.bundles_dir / "b1").mkdir(parents=True)
        told = {each.kind: each for each in await reports.get()}
        assert (told["bundles"].count, told["logs"].bytes) == (1, 10)


def test_a_link_that_leads_nowhere_is_a_log_like_others(tmp_path):
    (tmp_path / "latest.log").symlink_to(tmp_path / "gone")
    assert retention.prune_logs(tmp_path, set(), 0.0) == []
    assert retention.prune_logs(tmp_path, set(), 1e12) == ["latest.log"]
    assert list(tmp_path.iterdir()) == []
