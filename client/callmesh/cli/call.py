"""`call`: one HTTP request to an app, through the mesh."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, where
from callmesh_wire import errors, names

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. ``body`` is None where there is none."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float = 60.0


@click.command("call")
@click.argument("app", shell_complete=complete.app_names)
@click.argument("path", default="/")
@click.option("-X", "--method", default="", help="Default: GET, or POST with -d.")
@click.option(
    "-d",
    "--data",
    default=None,
    help="Body: JSON text, @FILE, or - for standard input.",
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="K:V",
    help="Repeatable; @FILE, or @- for standard input, holds one a line.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0.001), default=60.0, show_default=True, help="Seconds."
)
@where
def call_command(
    app: str,
    path: str,
    where: Where,
    *,
    method: str,
    data: str | None,
    headers: tuple[str, ...],
    timeout: float,
) -> None:
    """Send an HTTP request to an app and print the body of its answer.

    The request goes through the mesh, as one of another app's would. An answer
    that is not 2xx is printed too, and the exit code is 1.

    \b
    callmesh call web /items
    callmesh call web /items -d '{"name": "tea"}' -H X-Team:kettle
    callmesh call web /items -H @token.txt

    What is written after -H can be read by everybody on this machine: keep
    credentials in a file.
    """
    if (data == "-") + headers.count("@-") > 1:
        output.stop("standard input can be read once: for -d or for one -H", code=output.USAGE)
    request = Request(
        method=method.upper() or ("GET" if data is None else "POST"),
        path=path if path.startswith("/") else f"/{path}",
        headers=_headers(headers, has_body=data is not None),
        body=None if data is None else _body(data),
        timeout=timeout,
    )
    status, reason = _send(app, _base(app, where), request)
    if not 200 <= status < 300:
        output.stop(
            f"`{app}` answered {status} {reason} to {request.method} {request.path}",
            hint=f"`callmesh logs {app}` shows what it wrote" if status >= 500 else "",
        )


def _base(app: str, where: Where) -> str:
    """The app's base URL: its mesh port on this machine, else the ingress."""
    from callmesh.cli import mesh

    connected = mesh.connect(where)
    place = connected.settings.place
    assert place is not None
    try:
        found = connected.app(app)
    except errors.UnavailableError:
        name = names.AppName(connected.scope.project, connected.scope.domain, app)
        known = _known_endpoint(place.runtime_dir, name)
        if not known:
            raise
        output.say("the control plane is away: calling where the app was last known")
        return known
    return found.endpoint if place.is_local and found.endpoint else found.url


def _known_endpoint(runtime_dir: str, name: names.AppName) -> str:
    """The endpoint in the node's own file, which is there without the control plane."""
    try:
        known = json.loads((Path(runtime_dir) / "endpoints.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(known.get(name.mesh_name, ""))


def _send(app: str, base: str, request: Request) -> tuple[int, str]:
    address = urlsplit(base)
    connection = http.client.HTTPConnection(
        address.hostname or "127.0.0.1", address.port, timeout=request.timeout
    )
    headers = dict(request.headers)
    if (address.hostname or "").endswith(".localhost"):
        # Python's resolver does not know *.localhost; the ingress goes by the name.
        headers.setdefault("Host", address.netloc)
        connection.host = "127.0.0.1"
    try:
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        _print(response)
    except TimeoutError:
        output.stop(f"`{app}` did not answer within {request.timeout:g} s")
    except (OSError, http.client.HTTPException) as problem:
        output.stop(
            f"`{app}` cannot be reached at {base}: {problem}",
            hint=f"`callmesh describe app {app}` says how it does",
        )
    finally:
        connection.close()
    return response.status, response.reason


def _print(response: http.client.HTTPResponse) -> None:
    last = b""
    while part := response.read1(_CHUNK):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        last = part
    if last and not last.endswith(b"\n") and sys.stdout.isatty():
        sys.stdout.write("\n")


def _headers(given: tuple[str, ...], *, has_body: bool) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} if has_body else {}
    for place, each in _lines(given):
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            output.stop(f"{place} must be `Name: value`", code=output.USAGE)
        known = next((key for key in headers if key.lower() == name.strip().lower()), name.strip())
        headers[known] = value.strip()
    return headers


def _lines(given: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What an error calls it, and a header; what a file holds is not repeated."""
    for each in given:
        if not each.startswith("@"):
            yield f"header `{each}`", each
            continue
        content = sys.stdin.buffer.read() if each == "@-" else _content(each[1:])
        for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
            if line.strip():
                yield f"line {number} of `{each[1:]}`", line


def _body(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    return _content(data[1:]) if data.startswith("@") else data.encode()


def _content(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as problem:
        output.stop(f"`{path}` cannot be read: {problem.strerror}", code=output.USAGE)
