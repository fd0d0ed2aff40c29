"""SecretService: values go in and never come out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.apply import Applier
from callmesh_server.core.times import stamp
from callmesh_server.core.world import DesiredKey, World
from callmesh_server.loop import Loop
from callmesh_server.store.secrets import Secrets
from callmesh_wire.errors import NotFoundError
from callmesh_wire.names import check_secret
from callmeshpb.v1 import secret_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

MAX_VALUE = 1024 * 1024


class SecretApi:
    """The methods of SecretService."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        applier: Applier,
        requests: Requests,
        loop: Loop,
        world: World,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._applier = applier
        self._requests = requests
        self._loop = loop
        self._world = world

    async def create_secret(
        self, request: secret_pb2.CreateSecretRequest, _caller: Caller
    ) -> secret_pb2.CreateSecretResponse:
        """Create or replace."""
        problems = Problems()
        project, domain = scope_of(request.scope, problems)
        problems.name(check_secret, request.name)
        if len(request.value) > MAX_VALUE:
            problems.add(f"`value` has {len(request.value):,} bytes: must be at most {MAX_VALUE:,}")
        problems.raise_if_any()

        async def change() -> secret_pb2.CreateSecretResponse:
            name, now = request.name, time.time()
            sealed = await self._secrets.seal(project, domain, name, request.value)
            created = now
            for row in await self._database.secrets(project, domain):
                if row.name == name:
                    created = row.created_at
            self._secrets.put(project, domain, name, request.value)
            record = self._database.records.put_secret(project, domain, name, sealed, now)
            self._applier.also(f"secret/{project}/{domain}/{name}", [record])
            # Nodes keep what their instances need for a restart.
            self._loop.mark(DesiredKey(node) for node in self._world.nodes)
            secret = secret_pb2.Secret(
                project=project,
                domain=domain,
                name=name,
                created_at=stamp(created),
                updated_at=stamp(now),
            )
            return secret_pb2.CreateSecretResponse(secret=secret)

        return await self._requests.once(
            request.request_id, "CreateSecret", secret_pb2.CreateSecretResponse, change
        )

    async def list_secrets(
        self, request: secret_pb2.ListSecretsRequest, _caller: Caller
    ) -> secret_pb2.ListSecretsResponse:
        """A scope's secrets by name."""
        project, domain = scope_of(request.scope)
        rows = await self._database.secrets(project, domain)
        found, token = paging.page(
            rows, lambda row: row.name, request.page_size, request.page_token
        )
        secrets = [
            secret_pb2.Secret(
                project=row.project,
                domain=row.domain,
                name=row.name,
                created_at=stamp(row.created_at),
                updated_at=stamp(row.updated_at),
            )
            for row in found
        ]
        return secret_pb2.ListSecretsResponse(secrets=secrets, next_page_token=token)

    async def delete_secret(
        self, request: secret_pb2.DeleteSecretRequest, _caller: Caller
    ) -> secret_pb2.DeleteSecretResponse:
        """Forget a secret; workloads that run keep what they have."""
        project, domain = scope_of(request.scope)
        name = request.name

        async def change() -> secret_pb2.DeleteSecretResponse:
            if not self._secrets.remove(project, domain, name):
                raise NotFoundError(
                    f"there is no secret `{name[:70]}` in {project}/{domain}: "
                    "`callmesh get secrets` lists what there is"
                )
            record = self._database.records.delete_secret(project, domain, name)
            self._applier.also(f"secret/{project}/{domain}/{name}", [record])
            # Nodes keep what their instances need for a restart.
            self._loop.mark(DesiredKey(node) for node in self._world.nodes)
            return secret_pb2.DeleteSecretResponse()

        return await self._requests.once(
            request.request_id, "DeleteSecret", secret_pb2.DeleteSecretResponse, change
        )
