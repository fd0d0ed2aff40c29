"""Flyte's public names that callmesh does not have: each says so when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

_PLUGINS = "flyteplugins"
_CHECKPOINTS = "keep what is to survive an attempt in a folder or a database of your own"
_CONDITIONS = "end the task, and start the next one when the answer is there"
_DEVICES = "callmesh places work on cores and memory only"
_IMAGES = "there are no container images: `deploy` sees to the Python environment"
_SCHEDULES = "start runs from cron or a systemd timer, by `callmesh run deployed-task …`"
_ARTIFACTS = "pass the value on, or read the newest run's output by `app.RunOutput`"
_REPORTS = "serve a page from an app, or return the text"
_ACCOUNTS = "a mesh has one token: see `callmesh.init` and `CALLMESH_ENDPOINT`"
_FILES = "pass a `callmesh.io.File` or `callmesh.io.Dir` to the run"

_INSTEAD: dict[str, dict[str, str]] = {
    "callmesh": {
        **dict.fromkeys(("BaseCheckpoint", "Checkpoint", "latest_checkpoint"), _CHECKPOINTS),
        **dict.fromkeys(("ConditionWebhook", "new_condition"), _CONDITIONS),
        **dict.fromkeys(
            ("AMD_GPU", "APPLE_SILICON", "DeviceClass", "HABANA_GAUDI", "Neuron"), _DEVICES
        ),
        **dict.fromkeys(("ImageBuild", "build", "build_images"), _IMAGES),
        **dict.fromkeys(("Cron", "FixedRate", "Trigger", "TriggerTime"), _SCHEDULES),
        **dict.fromkeys(
            ("OnArtifact", "TriggeredArtifact", "TriggeredPartition", "artifacts"), _ARTIFACTS
        ),
        **dict.fromkeys(("init_from_api_key",), _ACCOUNTS),
        **dict.fromkeys(("report",), _REPORTS),
        "CachePolicy": "a cached result is found by the task's version and its inputs",
        "Documentation": "write a docstring",
        "Link": "write the address into the task's log",
        "PodTemplate": "there are no pods: use `resources`, `env_vars` and `secrets`",
        "ai": "serve the agent as an app",
        "extend": "callmesh has no plugins",
        "load_interactive_ctx": "call `callmesh.ctx()` in the task",
        "load_plugin_config": "callmesh has no plugins",
        "logger": "use `logging.getLogger(__name__)`",
        "notify": "call the service from the task, or watch the run",
        "run_python_script": "put the script's work into a task",
        "sandbox": "use a process of your own",
        "storage": "use the storage's own client",
        "system_logger": "use `logging.getLogger(__name__)`",
        "types": "types are told by Pydantic: use a model",
        "version": "see `callmesh.__version__`",
    },
    "callmesh.app": {
        "ArtifactValue": _ARTIFACTS,
        "ConnectorEnvironment": "write the connector as an app",
    },
    "callmesh.remote": {
        **dict.fromkeys(("Artifact", "PartitionSchema"), _ARTIFACTS),
        **dict.fromkeys(("Trigger", "TriggerDetails"), _SCHEDULES),
        **dict.fromkeys(("upload_dir", "upload_file"), _FILES),
        "Condition": _CONDITIONS,
        "Project": "a project is made by naming it: `callmesh.init(project=…)`",
        "Secret": "use `callmesh create secret`, `get secrets` and `delete secret`",
        "SecretTypes": "a secret is bytes: see `callmesh create secret`",
        "Settings": "see `callmesh.init`",
    },
}


def refuse(module: str, name: str) -> None:
    """Raise `ImportError` for a name of Flyte's that ``module`` lacks; return for any other.

    Not an `AttributeError`: its text would not reach who writes `from … import`.
    """
    instead = _INSTEAD.get(module, {}).get(name)
    if instead is not None:
        raise ImportError(f"Flyte's `{name}` is not there in `{module}`: {instead}")


class Finder:
    """Asked for a module after everybody else: refuses Flyte's modules and plugins by name."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """Nothing; for what is not supported an `ImportError` with what to do."""
        del path, target
        package, _, rest = name.partition(".")
        if package == "callmesh":
            refuse(package, rest)
        if package == _PLUGINS:
            raise ModuleNotFoundError(
                f"`{name}` is not supported: callmesh runs no plugins of Flyte's; call the "
                "plugin's own library in a task",
                name=name,
            )


def install() -> None:
    """Have such modules refused by name, once."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
