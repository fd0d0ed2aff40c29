"""What an app may declare, and what may be asked of it: on one mesh, through Envoy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow

SCRIPT = "tests/integration/projects/surface_apps.py"


def at_host(mesh: Mesh, host: str, path: str = "/") -> tuple[int, str]:
    request = urllib.request.Request(f"{mesh.ingress}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode()


def test_apps_from_their_declaration_to_their_deletion(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    told = dict(line.split(" ", 1) for line in mesh.python(SCRIPT, "main").splitlines())
    assert told.pop("notices") == (
        "app `surface-two` may have up to 3 instances: 1 run, for scaling by load is not "
        "available yet"
    )
    ours = "surface-two.development.default"
    assert told.pop("conflict").endswith(
        f"host name `two.example.com` of its `domain` is app `{ours}`'s: choose another"
    )
    assert told.pop("namesake").endswith(
        "its host name `surface-sub.localhost` is the `domain` of app "
        "`surface-one.development.default`: rename one of them"
    )
    assert told.pop("squatter").endswith(
        f"host name `surface-two.localhost` of its `domain` is app `{ours}`'s: choose another"
    )
    assert told == {
        "dry": "v7 ['surface-dry']",
        "dry-serve": "surface-dry AppNotFoundError",
        "deployed": "2 //surface-two.localhost surface-one",
        "served": "2 v2 True",
        "unknown": "TypeError: `with_servecontext` has no option `colour`",
        "get": "surface-one ready active ready",
        "listed": "True",
        "active": "[]",
        "missing": "AppNotFoundError",
        "watched": "ready",
        "deactivated": "True False inactive",
        "activated": "True ready",
        "inside": "True",
        "outside": "True",
    }

    # The same app by each of its names, and the fixed count of its instances.
    one = mesh.json("get", "app", "surface-one")
    assert one["replicas"] == {"wanted": 2, "ready": 2}
    answers = [json.loads(at_host(mesh, "surface-sub.localhost")[1]) for _ in range(8)]
    assert len({each["pid"] for each in answers}) == 2
    expected = {"A": "declared", "B": "served", "LOG_LEVEL": "10", "LOG_FORMAT": "json"}
    assert answers[0]["env"] == expected
    assert (answers[0]["name"], answers[0]["mode"]) == ("surface-one", "remote")
    assert (answers[0]["project"], answers[0]["parameter"]) == ("default", "9")
    two = json.loads(at_host(mesh, "two.example.com")[1])
    assert (two["name"], two["env"]["A"], two["env"]["B"]) == ("surface-two", "cloned", None)
    assert mesh.json("get", "app", "surface-two")["replicas"] == {"wanted": 1, "ready": 1}
    assert at_host(mesh, "one.example.com")[0] == 421

    # Its limit for one call, and what it wrote meanwhile.
    status, body = mesh.get("surface-one", "/slow")
    assert (status, "`Timeouts(request=)`" in body) == (504, True)
    assert mesh.python(SCRIPT, "logs").split() == ["lines", "True", "shown", "True", "followed"]

    # Shown to people.
    story = " ".join(mesh.cli("describe", "app", "surface-one").stdout.split())
    port = mesh.record["ingress_port"]
    assert f"domain http://surface-sub.localhost:{port}" in story
    assert "OpenAPI docs: /docs, Metrics: /metrics, Manual: https://example.com" in story
    assert "timeouts request 500 ms, startup 20 s" in story
    page = at_host(mesh, "localhost", "/apps/surface-one")
    assert page[0] == 200, page
    assert f'href="http://surface-one.localhost:{port}/metrics"' in page[1]
    assert 'href="https://example.com"' in page[1]

    assert mesh.python(SCRIPT, "delete").split() == ["TypeError", "gone"]
