"""A plain gRPC client: `talk_caller.py FOLDER TARGET NAME [--timeout S] [--asked X] …`.

NAME is what `Greet` is asked, or `services` or `health`. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def call(channel: grpc.Channel, name: str, timeout: float, asked: str) -> dict[str, Any]:
    from greetings.greetings_pb2 import GreetRequest
    from greetings.greetings_pb2_grpc import GreeterStub

    stub = GreeterStub(channel)
    try:
        answer, made = stub.Greet.with_call(
            GreetRequest(name=name), timeout=timeout, metadata=(("x-asked", asked),)
        )
    except grpc.RpcError as problem:
        return refusal(problem)
    return {
        "text": answer.text,
        "initial": dict(made.initial_metadata()),
        "trailing": dict(made.trailing_metadata()),
    }


def refusal(problem: grpc.RpcError) -> dict[str, Any]:
    info = error_details_pb2.ErrorInfo()
    for key, value in problem.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return {"code": problem.code().name, "details": problem.details(), "reason": info.reason}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("target")
    parser.add_argument("name")
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--asked", default="")
    parser.add_argument("--authority", default="")
    given = parser.parse_args()
    sys.path.insert(0, given.folder)
    options = [("grpc.default_authority", given.authority)] if given.authority else []
    with grpc.insecure_channel(given.target, options=options) as channel:
        if given.name == "services":
            names = ProtoReflectionDescriptorDatabase(channel).get_services()
            print(json.dumps({"services": sorted(names)}))
        elif given.name == "health":
            request = health_pb2.HealthCheckRequest(service="greetings.Greeter")
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status
            found = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
            print(json.dumps({"status": found}))
        else:
            print(json.dumps(call(channel, given.name, given.timeout, given.asked)))


if __name__ == "__main__":
    main()
