"""The Kubernetes manifest: what the API takes, and what the command line knows."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from callmesh.cli.agent import agent_command
from callmesh.cli.main import cli
from callmesh.cli.server import server_command
from callmesh_agent.inbound_ports import PORTS
from callmesh_up import options

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = ROOT / "deploy" / "kubernetes" / "callmesh.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
# One that is no longer maintained, one between, the newest that is known here.
VERSIONS = ("1.29", "1.33", kubernetes_validate.latest_version())
FIELDS = {"POD_IP": "10.1.0.7", "NODE_NAME": "ip-10-0-0-7.eu-west-1.compute.internal", "ZONE": ""}


def found(kind: str, name: str) -> dict[str, Any]:
    (it,) = [o for o in OBJECTS if o["kind"] == kind and o["metadata"]["name"] == name]
    return it


def pod(kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = found(kind, name)["spec"]["template"]["spec"]
    return spec


SERVER = pod("Deployment", "callmesh-server")
AGENT = pod("DaemonSet", "callmesh-agent")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_takes_every_object(version: str) -> None:
    for each in OBJECTS:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_schema_sees_what_is_wrong() -> None:
    wrong = copy.deepcopy(found("DaemonSet", "callmesh-agent"))
    wrong["spec"]["template"]["spec"]["containers"][0]["lifenessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="lifenessProbe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def arguments(container: dict[str, Any]) -> list[str]:
    """What the kubelet runs: fields that the pod names are put in."""
    named = {each["name"] for each in container["env"]}
    told = []
    for each in container["args"]:
        for variable in re.findall(r"\$\(([^)]*)\)", each):
            assert variable in named
        told.append(re.sub(r"\$\(([^)]*)\)", lambda match: FIELDS[match[1]], each))
    return told


@pytest.mark.parametrize(("spec", "command"), [(SERVER, server_command), (AGENT, agent_command)])
def test_containers_start_what_the_command_line_knows(
    spec: dict[str, Any], command: click.Command
) -> None:
    program, verb, *given = arguments(spec["containers"][0])
    assert (program, verb) == ("callmesh", command.name)
    # Unknown options and wrong values end the making of a context.
    command.make_context(verb, given, parent=cli.make_context("callmesh", [verb]))


def test_probes_run_commands_that_there_are() -> None:
    probe = SERVER["containers"][0]["livenessProbe"]["exec"]["command"]
    assert probe[0] == "callmesh" and cli.get_command(click.Context(cli), probe[1])
    assert "livenessProbe" not in AGENT["containers"][0]


def test_ports_are_the_command_lines() -> None:
    def ports(spec: dict[str, Any]) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in spec["containers"][0]["ports"]}

    assert ports(SERVER) == {"nodes": options.DEFAULT_NODE_PORT}
    assert ports(AGENT) == {"ingress": options.DEFAULT_INGRESS_PORT}
    for name, spec in (("callmesh-server", SERVER), ("callmesh-ingress", AGENT)):
        (served,) = found("Service", name)["spec"]["ports"]
        assert served["port"] == ports(spec)[served["targetPort"]]
    host, _, port = options.parse(arguments(AGENT["containers"][0])[1:]).server.rpartition(":")
    service = found("Service", host)["spec"]
    assert service["ports"][0]["port"] == int(port)
    assert (
        service["selector"]
        == found("Deployment", "callmesh-server")["spec"]["selector"]["matchLabels"]
    )


def test_policies_let_in_what_nodes_need() -> None:
    (to_server,) = found("NetworkPolicy", "callmesh-server")["spec"]["ingress"]
    assert to_server["ports"] == [{"port": options.DEFAULT_NODE_PORT}]
    between, browsers = found("NetworkPolicy", "callmesh-agent")["spec"]["ingress"]
    assert between["ports"] == [{"port": PORTS.start, "endPort": PORTS.stop - 1}]
    assert browsers == {"ports": [{"port": options.DEFAULT_INGRESS_PORT}]}


def test_every_mounted_volume_is_declared_and_no_container_may_become_root() -> None:
    for spec in (SERVER, AGENT):
        declared = {each["name"] for each in spec["volumes"]}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert {each["name"] for each in container["volumeMounts"]} <= declared
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert spec["securityContext"]["runAsNonRoot"]
        (folder,) = [
            each["mountPath"]
            for each in spec["containers"][0]["volumeMounts"]
            if each["name"] == "run"
        ]
        environment = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
        assert environment["XDG_RUNTIME_DIR"] == folder


def test_all_speak_of_one_image_whose_user_is_the_pods() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    images = {
        container["image"]
        for spec in (SERVER, AGENT)
        for container in [*spec["containers"], *spec.get("initContainers", [])]
    }
    assert images == {f"callmesh:{version[1]}"}
    recipe = (ROOT / "deploy" / "Containerfile").read_text()
    assert f"--tag callmesh:{version[1]}" in recipe
    user = SERVER["securityContext"]["runAsUser"]
    assert AGENT["securityContext"]["runAsUser"] == user
    assert f"USER {user}:{user}" in recipe and f"--uid {user}" in recipe
    assert AGENT["initContainers"][0]["command"][1] == f"{user}:{user}"
