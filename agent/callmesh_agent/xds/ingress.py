"""The ingress: one listener for browsers, which tells apps apart by host name.

`<mesh name>.localhost` and custom domains lead to apps; `localhost`, loopback
addresses and unknown `*.localhost` names to the mesh's pages. Any other host
name is somebody else's, made to point here (DNS rebinding): it gets a 421 that
says nothing about the mesh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import CLUSTER, ROUTES
from callmesh_agent.xds.http import direct, misdirected, route_metadata
from callmesh_agent.xds.packing import Resource, resource
from callmesh_agent.xds.resources import LOOPBACK_HOSTS, Door, listener

INGRESS = "callmesh/ingress"
PAGES = "callmesh/pages"

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\Z")
_MISDIRECTED = "this host name is not served here: `callmesh get apps` lists what is\n"
_NO_PAGES = "no app is served at this address: `callmesh get apps` lists what there is\n"


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where the ingress listens, and the Unix socket of the process that makes pages."""

    address: str
    port: int
    # Empty: there are no pages.
    pages_socket: str


def ingress_listener(ingress: Ingress) -> Resource:
    """The listener; it changes only with the address."""
    return listener(INGRESS, ingress.address, ingress.port, Door.INGRESS)


def pages_cluster(ingress: Ingress) -> Resource:
    """The process that makes pages, which may be away."""
    return resource(
        PAGES,
        descriptors.build(
            CLUSTER,
            {
                "name": PAGES,
                "type": "STATIC",
                "connect_timeout": "1s",
                "load_assignment": {
                    "cluster_name": PAGES,
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {"endpoint": {"address": {"pipe": {"path": ingress.pages_socket}}}}
                            ]
                        }
                    ],
                },
            },
        ),
    )


def domain_problem(domain: str) -> str:
    """Why the ingress does not answer a custom domain, or empty."""
    _, _, rest = domain.partition(".")
    is_host = _HOST.match(domain) and not domain.rpartition(".")[2].isdigit()
    if is_host and (rest == "localhost" or not domain.endswith(".localhost")):
        return ""
    return (
        f"custom domain `{domain}` must be a host name in lower case with a dot in it,"
        " one label before `.localhost` if it ends so, and no address"
    )


def app_host(host: Any, mesh_name: str, custom_domain: str) -> Any:
    """An app's virtual host message under its own names; ``custom_domain`` may be empty."""
    named = descriptors.copy(host)
    named.domains[:] = [f"{mesh_name}.localhost", *([custom_domain] if custom_domain else [])]
    return named


def ingress_routes(ingress: Ingress, hosts: Iterable[Any]) -> Resource:
    """The route table: the apps' virtual hosts, the pages, and the refusal."""
    message = descriptors.build(
        ROUTES,
        {
            "name": INGRESS,
            # `app.localhost:7480` is `app.localhost`; the app sees what was sent.
            "ignore_port_in_host_matching": True,
            "validate_clusters": False,
            "request_headers_to_add": [
                {
                    "header": {
                        "key": "x-forwarded-for",
                        "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
                    }
                }
            ],
            "virtual_hosts": [
                {
                    "name": PAGES,
                    "domains": LOOPBACK_HOSTS,
                    "routes": [_pages_route(ingress)],
                },
                misdirected(_MISDIRECTED),
            ],
        },
    )
    message.virtual_hosts.extend(hosts)
    return resource(INGRESS, message)


def _pages_route(ingress: Ingress) -> Mapping[str, Any]:
    if not ingress.pages_socket:
        return direct(404, _NO_PAGES)
    elsewhere = "`callmesh get apps` lists it too"
    return {
        "name": PAGES,
        "match": {"prefix": "/"},
        "metadata": route_metadata(
            subject="the page that lists what this mesh serves", state=elsewhere, logs=elsewhere
        ),
        "route": {"cluster": PAGES, "timeout": "0s"},
    }
