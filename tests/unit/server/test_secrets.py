"""Secrets: sealed on disk, given to workloads, never given back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callmesh_server.store.opening import open_database
from callmesh_server.store.secrets import Secrets
from callmesh_wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from callmeshpb.v1 import common_pb2, secret_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

VALUE = b"correct horse battery staple"


def create(name: str = "api", value: bytes = VALUE, **more: Any) -> secret_pb2.CreateSecretRequest:
    return secret_pb2.CreateSecretRequest(name=name, value=value, **more)


async def stored(folder: Path) -> Secrets:
    """One secret, sealed and read back by another life."""
    loop = asyncio.get_running_loop()
    database = await asyncio.to_thread(open_database, folder / "mesh.db", loop)
    secrets = Secrets(folder / "secret.key", database)
    sealed = await secrets.seal("p", "d", "api", VALUE)
    assert VALUE not in sealed
    await database.writer.commit([database.records.put_secret("p", "d", "api", sealed, 1.0)])
    again = Secrets(folder / "secret.key", database)
    try:
        await again.load()
    finally:
        await database.close()
    return again


async def test_values_come_back_as_variables_and_files(tmp_path: Path) -> None:
    secrets = await stored(tmp_path)
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    found = secrets.values(
        "p",
        "d",
        [
            common_pb2.SecretRef(key="api", env_var="API"),
            common_pb2.SecretRef(key="api", mount="/etc/api"),
            common_pb2.SecretRef(key="other", env_var="OTHER"),
        ],
    )
    assert found.env == {"API": VALUE.decode()}
    assert found.files == {"/etc/api": VALUE}
    assert found.missing == ("other",)
    assert VALUE.decode() not in repr(found)


async def test_a_wrong_or_missing_key_is_named(tmp_path: Path) -> None:
    await stored(tmp_path)
    loop = asyncio.get_running_loop()
    database = await asyncio.to_thread(open_database, tmp_path / "mesh.db", loop)
    key = tmp_path / "secret.key"
    key.write_bytes(b"x" * 32)
    with pytest.raises(FailedPreconditionError, match="put back the key file"):
        await Secrets(key, database).load()
    key.unlink()
    with pytest.raises(FailedPreconditionError, match="missing or damaged"):
        await Secrets(key, database).load()
    await database.close()


async def test_create_list_replace_and_delete(mesh: Any) -> None:
    call = mesh.client.call
    first = (await call("SecretService/CreateSecret", create(request_id="s1"))).secret
    second = (await call("SecretService/CreateSecret", create(value=b"new"))).secret
    assert second.created_at == first.created_at
    assert second.updated_at.ToNanoseconds() > first.updated_at.ToNanoseconds()
    listed = await call("SecretService/ListSecrets", secret_pb2.ListSecretsRequest())
    assert [each.name for each in listed.secrets] == ["api"]
    await call("SecretService/DeleteSecret", secret_pb2.DeleteSecretRequest(name="api"))
    with pytest.raises(NotFoundError, match="no secret `api`"):
        await call("SecretService/DeleteSecret", secret_pb2.DeleteSecretRequest(name="api"))


async def test_bad_names_and_sizes_are_said_at_once(mesh: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await mesh.client.call(
            "SecretService/CreateSecret", create(name="a b", value=b"x" * (2**20 + 1))
        )
    assert caught.value.message.count("\n") == 1


async def test_no_value_is_on_disk_in_clear(mesh: Any, tmp_path: Path) -> None:
    await mesh.client.call("SecretService/CreateSecret", create(request_id="s"))
    for file in (tmp_path / "server").rglob("*"):
        if file.is_file():
            assert VALUE not in file.read_bytes(), file


async def test_a_task_gets_its_secret_and_fails_without_it(mesh: Any) -> None:
    call = mesh.client.call
    await call("SecretService/CreateSecret", create())
    spec = pb.TaskEnvironmentSpec(
        name="jobs",
        version="v1",
        secrets=[common_pb2.SecretRef(key="api", env_var="API")],
        tasks=[pb.TaskSpec(name="jobs.work", function="work")],
    )
    await call("SchedulerService/Deploy", pb.DeployRequest(task_environments=[spec]))
    submission = pb.Submission(task=pb.TaskRef(name="work"))
    request = pb.RunTaskRequest(submission=submission)
    seen = []
    mesh.agent.outcome = lambda order: seen.append(dict(order.secret_env))
    await call("SchedulerService/RunTask", request)
    await mesh.agent.until(lambda: bool(seen))
    assert seen == [{"API": VALUE.decode()}]
    await call("SecretService/DeleteSecret", secret_pb2.DeleteSecretRequest(name="api"))
    run = (await call("SchedulerService/RunTask", request)).run
    watch = pb.WatchRunRequest(name=run.name)
    async for update in mesh.client.stream("SchedulerService/WatchRun", watch):
        last = update.run
    assert (last.phase, last.error.type) == (pb.RUN_PHASE_FAILED, "SecretMissing")
    assert "callmesh create secret" in last.error.message
