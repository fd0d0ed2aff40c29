"""An app and a task that say a digest of the secrets that they were given."""

import hashlib
import os
from pathlib import Path

import fastapi

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

MOUNT = "/etc/flyte/secrets"
SECRETS = [
    "plain-key",
    flyte.Secret("token", group="bank", as_env_var="BANK_TOKEN"),
    flyte.Secret("cert", mount=MOUNT),
    flyte.Secret("cert", group="tls", mount=Path(MOUNT)),
    flyte.Secret("both", mount=f"{MOUNT}/deep/both.pem", as_env_var="BOTH"),
]

app = fastapi.FastAPI()
env = FastAPIAppEnvironment(name="secrets-app", app=app, secrets=SECRETS, requires_auth=False)
tasks = flyte.TaskEnvironment(name="secrets-tasks", secrets=SECRETS)
AT_IMPORT = os.getenv("PLAIN_KEY", "")


def digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:8]


def seen() -> dict[str, str]:
    files = {
        "cert": ("cert", None),
        "tls/cert": ("cert", "tls"),
        "deep/both.pem": ("both.pem", "deep"),
    }
    found = {name: digest(flyte.secret_file(*key).read_bytes()) for name, key in files.items()}
    for name in ("PLAIN_KEY", "BANK_TOKEN", "BOTH"):
        found[name] = digest(os.environ[name].encode())
    return found | {"import": digest(AT_IMPORT.encode())}


@app.get("/")
def here() -> dict:
    return seen() | {"folder": os.environ["CALLMESH_SECRETS_DIR"]}


@tasks.task
def there() -> dict[str, str]:
    return seen()
