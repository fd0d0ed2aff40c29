"""The control plane's decisions: pure functions from a `World` to actions.

How the edge (loop, sessions, handlers) uses it:

- It owns one `ledger.Ledger` and its ``world``. At start it puts the stored
  tasks, apps, instances, runs (oldest first) and nodes (``liveness.remembered``)
  into it and decides ``ledger.all_keys()``.
- An *event* is a function call that returns actions:
  ``liveness.joined/disconnected/instances_complete/attempts_complete``,
  ``instances.reported``, ``attempt_reports.reported``, ``runs.abort``.
- A *change by a user* is a new record made by ``revisions`` (apps) or by the
  handler (runs), put as ``PutApp``/``PutRun``.
- Performing a state action is ``ledger.apply(action)``, which returns the keys
  that have to be decided again; ``decide.decide(world, key, now, ids)`` returns
  the next actions. That repeats until no key is dirty.
- ``ViewKey`` and ``DesiredKey`` are the edge's own to push (``view``).

Nothing here waits, reads a clock or makes a random number.
"""
