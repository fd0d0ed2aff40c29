"""What workloads are started with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from callmesh_agent import environment
from callmesh_agent.config import AgentSettings
from callmesh_agent.core.state import Recipe
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


@pytest.fixture
def settings(tmp_path):
    return AgentSettings(
        state_dir=tmp_path / "agent",
        runtime_dir=tmp_path / "run",
        ingress_port=7480,
        pages_socket=tmp_path / "web.sock",
        version="1",
        python="/opt/env/bin/python",
    )


def spec(**fields):
    return scheduler_pb2.AppSpec(project="default", domain="development", name="web", **fields)


def run(line, **variables):
    return subprocess.run(
        line, env={"PATH": os.defpath, **variables}, capture_output=True, text=True, check=False
    )


def test_a_persons_settings_are_not_handed_down(settings):
    inherited = {"CALLMESH_ENDPOINT": "x", "PORT": "1", "GRPC_XDS_BOOTSTRAP": "y", "HOME": "/h"}
    variables = environment.of_node(settings, inherited)
    assert not {"CALLMESH_ENDPOINT", "PORT", "GRPC_XDS_BOOTSTRAP"} & set(variables)
    assert variables["HOME"] == "/h"


def test_programs_of_the_environment_are_found_first(settings):
    variables = environment.of_node(settings, {"PATH": "/usr/bin"})
    assert variables["PATH"] == f"/opt/env/bin{os.pathsep}/usr/bin"
    assert environment.of_node(settings, variables)["PATH"] == variables["PATH"]


def test_calls_into_the_mesh_take_no_proxy(settings):
    variables = environment.of_node(settings, {"NO_PROXY": "corp"})
    assert variables["NO_PROXY"] == "corp,localhost,127.0.0.1,::1"


def test_grpc_finds_the_agents_configuration(settings):
    variables = environment.of_node(settings, {})
    (server,) = json.loads(variables["GRPC_XDS_BOOTSTRAP_CONFIG"])["xds_servers"]
    assert server["server_uri"] == f"unix://{settings.ads_socket}"


def test_later_sources_win():
    desired = node_pb2.DesiredInstance(
        instance=scheduler_pb2.Instance(id="web-1-a", app="web", revision=3),
        spec=spec(
            image=common_pb2.Image(env_vars={"A": "image", "B": "image", "C": "image"}),
            env_vars={"B": "spec", "C": "spec"},
            parameters=[scheduler_pb2.AppParameter(name="url", env_var="URL", text="u")],
        ),
        secret_env={"C": "secret"},
    )
    variables = environment.of_instance({"A": "node"}, desired, {"url": "u"}, Path("/s"))
    assert [variables[name] for name in "ABC"] == ["image", "spec", "secret"]
    assert variables["URL"] == "u"
    assert json.loads(variables["CALLMESH_PARAMETERS"]) == {"url": "u"}
    assert variables["CALLMESH_REVISION"] == "3"
    assert "CALLMESH_SECRETS_DIR" not in variables


def test_an_app_endpoint_is_the_address_of_its_mesh_port():
    parameters = [
        scheduler_pb2.AppParameter(name="backend", app_endpoint="api"),
        scheduler_pb2.AppParameter(name="page", app_endpoint="api", public=True),
        scheduler_pb2.AppParameter(name="model", text="small"),
    ]
    endpoints = {"api": "http://127.0.0.1:20001"}
    assert environment.endpoint_parameters(spec(parameters=parameters), endpoints, 7480) == {
        "backend": "http://127.0.0.1:20001",
        "page": "http://api.localhost:7480",
        "model": "small",
    }


def test_workers_have_their_pools_variables():
    recipe = Recipe(
        project="p", domain="d", environment="e", version="1",
        code=common_pb2.Code(), image=common_pb2.Image(),
        env_vars={"A": "1"}, secret_env={"S": "x"}, secret_files={"/k": b"v"},
    )  # fmt: skip
    variables = environment.of_pool({}, recipe, Path("/secrets"))
    assert variables["A"] == "1"
    assert variables["CALLMESH_SECRETS_DIR"] == "/secrets"


def test_args_are_one_line_for_the_shell():
    line = environment.command_line(spec(args=["echo", "on $PORT", "'a  b'"]))
    assert run(line, PORT="81").stdout == "on 81 a  b\n"


def test_a_simple_line_replaces_the_shell():
    line = environment.command_line(spec(args=["cat /proc/$$/comm"]))
    assert run(line).stdout == "cat\n"


@pytest.mark.parametrize("line", ["cd / && pwd", "A=1; echo $A", "X=2 sh -c 'echo $X'", "(pwd)"])
def test_a_line_of_several_commands_is_left_to_the_shell(line):
    done = run(environment.command_line(spec(args=[line])))
    assert done.returncode == 0
    assert done.stdout


def test_a_command_is_taken_word_by_word():
    words = ["echo", "a  b", "$(id)", "it's"]
    assert environment.command_line(spec(command=words)) == words


def test_a_word_that_begins_with_a_variable_has_its_value():
    line = environment.command_line(
        spec(command=["echo", "$PORT", "${PORT}/x y", "a$PORT"], args=["$(id)"])
    )
    assert run(line, PORT="8 1").stdout == "8 1 8 1/x y a$PORT $(id)\n"


def test_a_variable_that_is_not_set_ends_the_start():
    done = run(environment.command_line(spec(command=["echo", "$NOPE"])))
    assert done.returncode != 0
    assert "NOPE" in done.stderr


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ({"args": ["streamlit run x.py --server.port 8501"], "port": 8501}, 8501),
        ({"command": ["serve", "--port=8501"], "port": 8501}, 8501),
        ({"args": ["serve --port $PORT"], "port": 8501}, 0),
        ({"args": ["serve 85010"], "port": 8501}, 0),
        ({"args": ["serve"], "port": 0}, 0),
    ],
)
def test_a_port_that_the_command_names(fields, port):
    assert environment.hard_coded_port(spec(**fields)) == port


def test_secret_files_are_for_this_user_alone_and_go(tmp_path):
    folder = tmp_path / "secrets" / "web"
    files = {"/etc/secrets/key": b"v", "/etc/flyte/secrets/tls/key": b"w"}
    environment.place_secrets(folder, files)
    assert (folder / "key").read_bytes() == b"v"
    assert (folder / "tls" / "key").read_bytes() == b"w"
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    environment.remove_secrets(folder)
    assert not folder.exists()
    assert not folder.parent.exists()


def test_secret_files_that_are_there_stay_for_who_reads_them(tmp_path):
    folder = tmp_path / "secrets" / "pool-1"
    files = {"/etc/flyte/secrets/tls/key": b"w", "/etc/flyte/secrets/key": b"v"}
    environment.place_secrets(folder, files)
    before = (folder / "key").stat().st_ino
    with (folder / "key").open() as held:
        environment.place_secrets(folder, files)
        assert (folder / "key").stat().st_ino == before
        environment.place_secrets(folder, {"/etc/flyte/secrets/key": b"new"})
        assert held.read() == "v"
    assert [each.name for each in folder.iterdir()] == ["key"]
    assert (folder / "key").read_bytes() == b"new"


def test_secret_files_are_not_put_where_others_can_read(tmp_path):
    folder = tmp_path / "secrets" / "web"
    (folder.parent / "others").mkdir(parents=True)
    folder.parent.chmod(0o755)
    with pytest.raises(FailedPreconditionError, match="others may read"):
        environment.place_secrets(folder, {"/etc/flyte/secrets/key": b"v"})
