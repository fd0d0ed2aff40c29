"""What nodes get: the mesh view (what can be called) and each node's desired set.

No Envoy types here: a node's agent compiles the view for its own Envoy.
"""

from __future__ import annotations

from callmesh_server.core.instances import CALLABLE
from callmesh_server.core.revisions import spec_of
from callmesh_server.core.world import NOTHING, World, app_of
from callmesh_wire.names import AppName
from callmeshpb.v1 import registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.node_pb2 import DesiredInstance, DesiredSet, ServiceView
from callmeshpb.v1.registry_pb2 import Endpoint, Service
from callmeshpb.v1.scheduler_pb2 import App, AppSpec, Instance

_READY = registry_pb2.ENDPOINT_HEALTH_READY
_DRAINING = registry_pb2.ENDPOINT_HEALTH_DRAINING


def service_view(world: World, name: AppName) -> ServiceView | None:
    """One service of the mesh view, or None if there is none of that name.

    To be sent only once ``liveness.is_settled``.
    """
    if name in world.apps:
        return _view_of(world, name)
    external = world.externals.get(name)
    return ServiceView(service=external) if external is not None else None


def service_of(world: World, name: AppName) -> Service | None:
    """One service as callers see it, or None if there is none of that name."""
    if name in world.apps:
        return _service(world, name, world.apps[name])
    return world.externals.get(name)


def desired_set(world: World, node: str, version: int) -> DesiredSet:
    """Everything that the node shall run, by id; secrets are the edge's to add.

    An instance whose specification is not kept any more is left without one:
    it can only be told to go.
    """
    wanted = DesiredSet(version=version)
    for identifier in sorted(world.instances_on_node.get(node, NOTHING)):
        instance = world.instances[identifier]
        app = world.apps.get(app_of(instance))
        spec = spec_of(app, instance.revision) if app is not None else None
        wanted.instances.append(DesiredInstance(instance=_bare(instance), spec=spec))
    return wanted


def _view_of(world: World, name: AppName) -> ServiceView:
    app = world.apps[name]
    spec = _spec(app)
    view = ServiceView(
        service=_service(world, name, app),
        cookie_affinity=spec.cookie_affinity,
        prefer_local=spec.prefer_local,
        custom_domain=spec.custom_domain,
    )
    if spec.HasField("timeouts"):
        view.timeouts.CopyFrom(spec.timeouts)
    return view


def _service(world: World, name: AppName, app: App) -> Service:
    endpoints = []
    for each in world.instances_of(name):
        endpoint = _endpoint(world, app, each)
        if endpoint is not None:
            endpoints.append(endpoint)
    endpoints.sort(key=lambda each: each.instance_id)
    return Service(
        project=name.project,
        domain=name.domain,
        name=name.name,
        mesh_name=name.mesh_name,
        protocol=_spec(app).protocol,
        mesh_port=app.mesh_port,
        endpoint=app.endpoint,
        url=app.url,
        endpoints=endpoints,
    )


def _endpoint(world: World, app: App, instance: Instance) -> Endpoint | None:
    """The instance as an endpoint, if its node said that it takes or took calls."""
    node = world.nodes.get(instance.node)
    status = instance.status
    if node is None or node.lost or not node.heard or not status.port:
        return None
    # A revision that has not taken over is nobody's to call.
    if not app.serving_revision or instance.revision > app.serving_revision:
        return None
    stays = instance.intent == pb.INSTANCE_INTENT_RUN and instance.revision == app.serving_revision
    if stays and status.state != pb.INSTANCE_STATE_READY:
        return None
    if not stays and status.state not in CALLABLE:
        return None
    reachable = bool(node.record.address and status.inbound_port)
    return Endpoint(
        instance_id=instance.id,
        node=instance.node,
        zone=node.record.zone,
        address=node.record.address if reachable else status.address,
        port=status.inbound_port if reachable else status.port,
        revision=instance.revision,
        health=_READY if stays else _DRAINING,
        local_only=not reachable,
    )


def _spec(app: App) -> AppSpec:
    return app.serving_spec if app.serving_revision else app.spec


def _bare(instance: Instance) -> Instance:
    """Without what the node itself reported, so that reports do not change the set."""
    bare = Instance()
    bare.CopyFrom(instance)
    bare.ClearField("status")
    return bare
