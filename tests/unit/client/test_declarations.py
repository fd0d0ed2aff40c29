"""Environments, tasks, apps and their parts: what is taken, and what is refused where."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import callmesh as flyte
from callmesh import app
from callmesh.app.extras import FastAPIAppEnvironment


def test_names_have_their_forms() -> None:
    for name in ("a", "a_b", "a-b2"):
        assert flyte.TaskEnvironment(name).name == name
    for name in ("A", "a.b", "a--b", "", "-a"):
        with pytest.raises(ValueError, match="snake_case or kebab-case"):
            flyte.TaskEnvironment(name=name)
    with pytest.raises(ValueError, match="app name"):
        app.AppEnvironment(name="a_b")


def test_an_environment_knows_where_it_was_written_down() -> None:
    env = flyte.TaskEnvironment(name="here")
    assert env.origin.module == __name__
    assert env.origin.file == __file__
    copy = env.clone_with("there", env_vars={"A": "1"})
    assert (copy.name, copy.env_vars, env.env_vars) == ("there", {"A": "1"}, None)


def test_wrong_parts_are_refused_where_they_are_written() -> None:
    with pytest.raises(TypeError, match="`resources` of `a`"):
        flyte.TaskEnvironment(name="a", resources="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`depends_on` of `a`"):
        flyte.TaskEnvironment(name="a", depends_on=["b"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="`env_vars` of `a`"):
        flyte.TaskEnvironment(name="a", env_vars={"A": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="`image` must be"):
        flyte.TaskEnvironment(name="a", image=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be at most 255"):
        flyte.TaskEnvironment(name="a", description="x" * 256)


def test_dependencies_are_added_once_and_never_to_oneself() -> None:
    one, two = flyte.TaskEnvironment(name="one"), flyte.TaskEnvironment(name="two")
    one.add_dependency(two, two)
    assert one.depends_on == [two]
    with pytest.raises(ValueError, match="Cannot add self"):
        one.add_dependency(one)


def test_a_task_called_outside_a_run_is_its_function() -> None:
    env = flyte.TaskEnvironment(name="plain")

    @env.task
    async def later(x: int) -> int:
        return x + 1

    @env.task(retries=3, short_name="n")
    def now(x: int) -> int:
        return x + 2

    assert now(1) == 3
    assert now.forward(1) == 3
    assert asyncio.run(later(1)) == 2
    assert asyncio.run(now.aio(1)) == 3
    assert asyncio.run(later.aio(1)) == 2
    assert (now.name, now.short_name, later.short_name) == ("plain.now", "n", "later")
    assert set(env.tasks) == {"plain.now", "plain.later"}
    assert now.retries.count == 3
    assert later.json_schema["required"] == ["x"]


def test_override_makes_a_copy() -> None:
    env = flyte.TaskEnvironment(name="copies")

    @env.task
    def one() -> None: ...

    changed = one.override(retries=2, timeout=timedelta(seconds=5), reusable="off")
    assert (one.retries.count, changed.retries.count) == (0, 2)
    assert changed.options.fresh
    assert changed.options.overrides == {"retries", "timeout"}
    with pytest.raises(TypeError, match="no option `colour`"):
        one.override(colour="red")


def test_what_is_no_task_is_refused() -> None:
    env = flyte.TaskEnvironment(name="refuses")
    with pytest.raises(TypeError, match="a task must be a function"):
        env.task(print)
    with pytest.raises(TypeError, match="no option `colour`"):
        env.task(colour="red")  # type: ignore[call-overload]

    @env.task
    def one() -> None: ...

    def one_again() -> None: ...

    one_again.__name__ = "one"
    with pytest.raises(ValueError, match="declared twice"):
        env.task(one_again)


@pytest.mark.parametrize(
    ("given", "cores", "memory"),
    [
        ({"cpu": 2, "memory": "1Gi"}, 2.0, 1 << 30),
        ({"cpu": "500m", "memory": "512Mi"}, 0.5, 512 << 20),
        ({"cpu": (1, 2), "memory": ("1G", "2G")}, 1.0, 10**9),
        ({}, 0.0, 0),
    ],
)
def test_resources_are_read(given: dict[str, Any], cores: float, memory: int) -> None:
    found = flyte.Resources(**given)
    assert (found.cores, found.memory_bytes) == (cores, memory)


@pytest.mark.parametrize("given", [{"cpu": "x"}, {"cpu": 0}, {"memory": "1Q"}, {"memory": "-1Gi"}])
def test_bad_resources_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        flyte.Resources(**given)


def test_devices_are_requests() -> None:
    assert flyte.Resources(gpu=2).device == "gpu:2"
    assert flyte.Resources(gpu="A100:1").device == "A100:1"
    assert flyte.Resources(gpu=flyte.GPU("L4", 2)).device == "L4:2"


def test_a_secret_is_a_variable_or_a_file() -> None:
    assert flyte.Secret("api-key", group="team").variable == "TEAM_API_KEY"
    assert flyte.Secret("key", as_env_var="TOKEN").variable == "TOKEN"
    mounted = flyte.Secret("key", group="g", mount="/etc/flyte/secrets")
    assert (mounted.variable, mounted.file) == ("", "/etc/flyte/secrets/g/key")
    assert flyte.Secret("key", mount="/etc/flyte/secrets/a/b").file == "/etc/flyte/secrets/a/b"
    with pytest.raises(ValueError, match="or a file below it"):
        flyte.Secret("key", mount="/run/key")
    with pytest.raises(ValueError, match="`as_env_var`"):
        flyte.Secret("key", as_env_var="lower")
    env = flyte.TaskEnvironment(name="s", secrets=["a", flyte.Secret("b")])
    assert [each.key for each in env.secret_requests] == ["a", "b"]


def test_images_are_immutable() -> None:
    base = flyte.Image.from_debian_base(python_version=(3, 11))
    more = base.with_pip_packages("httpx").with_env_vars({"A": "1"})
    assert base.layers == ()
    assert len(more.layers) == 2
    assert base.uri != more.uri
    with pytest.raises(ValueError, match="cannot take further layers"):
        flyte.Image.from_base("python:3.12").with_pip_packages("x")
    with pytest.raises(ValueError, match=r"end in `\.txt`"):
        base.with_requirements("requirements.toml")


def test_an_input_is_a_parameter_that_is_exported() -> None:
    backend = app.AppEndpoint(app_name="backend")
    given = app.AppEnvironment(
        name="front",
        args=["true"],
        inputs=[app.Input(name="backend_url", value=backend)],
        parameters=[app.Parameter(name="other", value=1)],
    )
    assert {each.name: each.env_var for each in given.parameters} == {
        "other": None,
        "backend_url": "BACKEND_URL",
    }
    as_input = app.AppEnvironment(
        name="front", args=["true"], inputs=[app.Parameter(name="back-end", value="x")]
    )
    assert as_input.parameters[0].env_var == "BACK_END"
    assert app.Input(name="x", value=1, env_var="Y").env_var == "Y"


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="the value of parameter `x`"):
        app.Parameter(name="x", value=[1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`env_var` of parameter `x`"):
        app.Parameter(name="x", value=1, env_var="1A")
    with pytest.raises(ValueError, match="two parameters called `x`"):
        app.AppEnvironment(
            name="a", args=["true"], parameters=[app.Parameter("x", 1), app.Parameter("x", 2)]
        )
    with pytest.raises(ValueError, match="either `run_name` or `task_name`"):
        app.RunOutput(type="string")


def test_parts_of_an_app_are_checked() -> None:
    for port in (0, 9090, 70000):
        with pytest.raises(ValueError, match="port"):
            app.AppEnvironment(name="a", port=port)
    for replicas in ((2, 1), 0, (-1, 1)):
        with pytest.raises(ValueError, match="replicas"):
            app.Scaling(replicas=replicas)
    with pytest.raises(TypeError, match="replicas"):
        app.Scaling(replicas="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most an hour"):
        app.Timeouts(request=timedelta(hours=2))
    with pytest.raises(TypeError, match="`args` of `a`"):
        app.AppEnvironment(name="a", args=[1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="`health_path`"):
        app.AppEnvironment(name="a", args=["x"], health_path="health")
    assert app.Scaling(3).get_replicas() == (3, 3)
    assert app.Scaling.Concurrency(4).val == 4
    assert app.Domain(subdomain="blue").host == "blue.localhost"


@pytest.mark.parametrize(
    ("args", "argv"),
    [
        (["python", "-c", "import x; print(1)"], ["python", "-c", "import x; print(1)"]),
        ("streamlit run main.py --server.port 8080", None),
        (["python -m http.server"], ["python", "-m", "http.server"]),
        ("a | b", ["/bin/sh", "-c", "a | b"]),
    ],
)
def test_a_command_line_is_words(args: Any, argv: list[str] | None) -> None:
    env = app.AppEnvironment(name="a", args=args)
    assert env.argv == (argv or args.split())


def test_streamlit_keeps_a_browser_with_its_instance() -> None:
    assert app.AppEnvironment(name="a", args="streamlit run x.py").has_affinity
    assert not app.AppEnvironment(name="a", args="python x.py").has_affinity
    assert not app.AppEnvironment(
        name="a", args="streamlit run x.py", session_affinity=False
    ).has_affinity


def test_the_functions_of_an_app_are_kept_for_its_process() -> None:
    env = app.AppEnvironment(name="a")

    @env.server
    def serve() -> None: ...

    @env.on_startup
    async def first() -> None: ...

    @env.on_shutdown
    def last() -> None: ...

    assert (env._server, env._on_startup, env._on_shutdown) == (serve, first, last)


def test_the_port_is_the_meshs_choice_in_a_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    env = app.AppEnvironment(name="a", port=8123)
    monkeypatch.delenv("PORT", raising=False)
    assert env.get_port() == 8123
    monkeypatch.setenv("PORT", "40001")
    assert env.get_port() == 40001
    assert (env.get_port().port, env.get_port().name) == (40001, None)


def test_a_fastapi_app_gets_a_link_to_its_docs() -> None:
    fastapi = pytest.importorskip("fastapi")
    env = FastAPIAppEnvironment(name="api", app=fastapi.FastAPI())
    assert [link.path for link in env.links] == ["/docs"]
    assert env.type == "FastAPI"
    with pytest.raises(TypeError, match="must be a FastAPI object"):
        FastAPIAppEnvironment(name="api", app="x")


def test_parameters_are_read_in_the_apps_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLMESH_PARAMETERS", raising=False)
    with pytest.raises(ValueError, match="has no value here"):
        app.get_parameter("x")
    monkeypatch.setenv("CALLMESH_PARAMETERS", '{"x": "1"}')
    assert app.get_input("x") == "1"
    with pytest.raises(KeyError, match="it has `x`"):
        app.get_parameter("y")


def test_options_without_an_effect_are_known() -> None:
    env = flyte.TaskEnvironment(name="unused", cache="auto", interruptible=True)
    assert sorted(env.unused.names()) == ["interruptible"]
    assert flyte.TaskEnvironment(name="used").unused.names() == []
