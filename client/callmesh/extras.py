"""Flyte's `extras`: not supported. Importing it says so."""

raise ImportError(
    "`callmesh.extras` (containers, dynamic batching and signed webhooks) is not supported: "
    "use a task, or an app whose routes check the signature"
)
