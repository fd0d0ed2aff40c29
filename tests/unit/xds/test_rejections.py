"""Who is to blame, read out of one sentence for all."""

from __future__ import annotations

from callmesh_agent.xds.rejections import split

# As Envoy 1.40 writes them.
TWO_LISTENERS = (
    "Error adding/updating listener(s) taken: cannot bind '127.0.0.1:20001': "
    "Address already in use\ntaken-too: cannot bind '127.0.0.1:20002': Address already in use\n"
)


def test_each_resource_gets_its_own_sentence() -> None:
    assert split(TWO_LISTENERS, ["taken", "fine", "taken-too"]) == {
        "taken": "cannot bind '127.0.0.1:20001': Address already in use",
        "taken-too": "cannot bind '127.0.0.1:20002': Address already in use",
    }


def test_name_that_ends_a_longer_one_is_not_taken_for_it() -> None:
    text = "Error adding/updating listener(s) my-app: port 0\n"
    assert split(text, ["app", "my-app"]) == {"my-app": "port 0"}


def test_grpc_names_the_resource_by_its_index() -> None:
    text = 'xDS response validation errors: [resource index 0: greet: INVALID_ARGUMENT: bad"]'
    assert split(text, ["greet"]) == {"greet": 'INVALID_ARGUMENT: bad"'}


def test_text_without_a_name_is_kept_whole() -> None:
    assert split("no idea\n", ["app"]) == {"": "no idea"}
