"""What a process is given."""

from __future__ import annotations

import base64

from callmesh_agent.supervisor import listeners
from callmesh_agent.supervisor.spawn import Inheritance, environment_of, start_of_fork
from callmeshpb.v1 import supervisor_pb2, workload_pb2


def request(**fields: object) -> supervisor_pb2.StartProcess:
    return supervisor_pb2.StartProcess(process_id="app/a", argv=["x"], **fields)


def app() -> bytes:
    start = workload_pb2.WorkloadStart(
        app=workload_pb2.AppStart(instance_id="a", listen_fd=-1), environment={"SECRET": "s"}
    )
    return start.SerializeToString()


def test_a_plain_process_gets_its_environment_as_it_is() -> None:
    asked = request(environment={"A": "1"})
    assert environment_of(asked, Inheritance(lock=3, log=4)) == {"A": "1"}


def test_a_port_and_its_listener_are_told() -> None:
    with listeners.listen() as listener:
        given = Inheritance(lock=3, log=4, listener=listener, port=8000)
        environment = environment_of(request(), given)
        assert environment == {"PORT": "8000", "CALLMESH_LISTEN_FD": str(listener.fileno())}
        assert given.descriptors() == {"log": 4, "lock": 3, "listen": listener.fileno()}


def test_a_spawned_workload_s_start_has_no_environment_of_its_own() -> None:
    with listeners.listen() as listener:
        given = Inheritance(lock=3, log=4, listener=listener, port=8000)
        environment = environment_of(request(start=app()), given)
        start = workload_pb2.WorkloadStart.FromString(
            base64.b64decode(environment["CALLMESH_START"])
        )
        assert start.app.listen_fd == listener.fileno()
        assert not start.environment


def test_a_fork_gets_the_request_s_environment_and_folder() -> None:
    asked = request(start=app(), environment={"A": "1"}, directory="/bundle")
    start = workload_pb2.WorkloadStart.FromString(
        start_of_fork(asked, Inheritance(lock=3, log=4, port=8000))
    )
    assert start.environment == {"SECRET": "s", "A": "1", "PORT": "8000"}
    assert start.directory == "/bundle"
