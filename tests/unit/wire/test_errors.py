"""Errors survive the wire, over frames and over gRPC, with reason and metadata."""

import grpc.aio
import pytest

from callmesh_wire import channel, errors, status


@pytest.mark.parametrize("kind", errors.BY_CODE.values())
def test_an_error_is_read_back_from_its_message(kind: type[errors.CallmeshError]) -> None:
    error = kind("app `x` is odd", reason="ODD", metadata={"app": "x"})
    back = errors.from_status(errors.to_status(error))
    assert (type(back), back.message, back.reason, back.metadata) == (
        kind,
        "app `x` is odd",
        "ODD",
        {"app": "x"},
    )


async def test_an_error_is_read_back_from_a_grpc_call(tmp_path) -> None:
    sent = errors.NotFoundError("no app `x`", metadata={"app": "x"})

    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata(((status.DETAILS_KEY, status.details(sent)),))
        await context.abort(status.grpc_code(sent), sent.message)
        return b""

    server = channel.new_server()
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "t", {"Go": grpc.unary_unary_rpc_method_handler(handler)}
            )
        ]
    )
    target = f"unix:{tmp_path}/s"
    server.add_insecure_port(target)
    await server.start()
    async with channel.open_channel(target) as client:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await client.unary_unary("/t/Go")(b"")
    await server.stop(None)
    back = status.from_rpc(failed.value)
    assert isinstance(back, errors.NotFoundError)
    assert (back.message, back.metadata) == ("no app `x`", {"app": "x"})
