"""Apps that use what an app may declare, and a script that asks of them all that there is."""

import asyncio
import contextlib
import io
import os
import sys
import time

import fastapi

import callmesh as flyte
from callmesh import app as flyte_app
from callmesh import errors, remote
from callmesh.app import Domain, Link, Scaling, Subdomain, Timeouts
from callmesh.app.extras import FastAPIAppEnvironment

app = fastapi.FastAPI()


@app.get("/")
def here() -> dict:
    found = flyte_app.ctx()
    return {
        "name": found.name,
        "mode": found.mode,
        "project": found.project,
        "pid": os.getpid(),
        "env": {key: os.environ.get(key) for key in ("A", "B", "LOG_LEVEL", "LOG_FORMAT")},
        "parameter": flyte_app.get_parameter("size"),
    }


@app.get("/slow")
async def slow() -> str:
    print("slow was called", flush=True)
    await asyncio.sleep(30)
    return "late"


one = FastAPIAppEnvironment(
    name="surface-one",
    app=app,
    env_vars={"A": "declared", "B": "declared"},
    parameters=[flyte_app.Parameter("size", 1)],
    domain=Domain(subdomain=Subdomain.from_app_name("surface-sub")),
    links=[Link("/metrics", "Metrics", is_relative=True), Link("https://example.com", "Manual")],
    scaling=Scaling(2),
    timeouts=Timeouts(request=0.5, startup=20),
    requires_auth=False,
    description="One of two",
)
two = one.clone_with(
    "surface-two",
    domain=Domain(custom_domain="two.example.com"),
    scaling=Scaling((1, 3)),
    env_vars={"A": "cloned"},
    timeouts=Timeouts(),
)
thief = one.clone_with("surface-thief", domain=Domain(custom_domain="two.example.com"))
namesake = one.clone_with("surface-sub", domain=Domain())
squatter = one.clone_with("surface-squatter", domain=Domain(subdomain="surface-two"))
here_only = one.clone_with("surface-dry", domain=Domain())


def refused(call, *args, **options) -> str:
    try:
        call(*args, **options)
    except (errors.CallmeshError, errors.BaseRuntimeError, TypeError, ValueError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return "nothing was refused"


def main() -> None:
    flyte.init_from_config()
    (planned,) = flyte.deploy(here_only, dry_run=True, version="v7")
    print("dry", planned.version, list(planned.envs))
    dry = flyte.with_servecontext(dry_run=True).serve(here_only)
    print("dry-serve", dry.name, refused(remote.App.get, "surface-dry").split(":")[0])
    deployed = flyte.deploy(one, two, version="v1", project="default", domain="development")
    print("notices", *deployed[0].notices)
    print(
        "deployed",
        len(deployed),
        deployed[1].url.split(":")[1],
        deployed[0].envs["surface-one"].name,
    )
    for each in deployed:
        each.wait()
    print("conflict", refused(flyte.deploy, thief))
    print("namesake", refused(flyte.deploy, namesake))
    print("squatter", refused(flyte.deploy, squatter))
    served = flyte.with_servecontext(
        env_vars={"B": "served"},
        parameter_values={"surface-one": {"size": 9}},
        log_level=10,
        log_format="json",
        version="v2",
        copy_style="all",
    ).serve(one)
    print("served", served.revision, served.pb2.spec.version, served.is_active())
    print("unknown", refused(flyte.with_servecontext, colour="red"))
    found = remote.App.get("surface-one")
    print("get", found.name, found.state, found.desired_state, found.deployment_status)
    print("listed", {"surface-one", "surface-two"} <= {each.name for each in remote.App.listall()})
    print("active", [each.name for each in remote.App.listall(in_status=["inactive"])])
    print("missing", refused(remote.App.get, "surface-none").split(":")[0])
    print("watched", found.watch("activated").state)
    found.deactivate(wait=True)
    print(
        "deactivated", found.is_deactivated(), found.is_active(), found.watch("deactivated").state
    )
    found.activate(wait=True)
    print("activated", found.is_active(), found.state)
    with found.ephemeral_ctx_sync() as inside:
        print("inside", inside.is_active())
    print("outside", found.is_deactivated())
    found.activate(wait=True)


def logs() -> None:
    flyte.init_from_config()
    found = remote.App.get("surface-one")
    print("lines", any("slow was called" in line.text for line in found.logs()))
    print("shown", "slow was called" in found.show_logs(max_lines=200))

    async def first() -> str:
        async for line in remote.App.get("surface-one").logs.aio(follow=True):
            if "slow was called" in line.text:
                return "followed"
        return "ended"

    print(asyncio.run(asyncio.wait_for(first(), 20)))


def delete() -> None:
    flyte.init_from_config()
    remote.App.get("surface-one").delete()
    remote.App.delete("surface-two")
    remote.App.delete("surface-none")
    print(refused(remote.App.delete).split(":")[0])
    until = time.monotonic() + 30
    while any(each.name.startswith("surface-") for each in remote.App.listall()):
        assert time.monotonic() < until
    print("gone")


if __name__ == "__main__":
    quiet = io.StringIO()
    with contextlib.redirect_stderr(quiet):
        {"main": main, "logs": logs, "delete": delete}[sys.argv[1]]()
