"""The node's supervisor: the small process that owns the others.

It starts workloads, zygotes and Envoy, keeps their locks, log files and exit
records, and outlives the agent. Its processes outlive it: a new supervisor
adopts them from the records. Imports stdlib, `callmeshpb` and `callmesh_wire`
only, and never grpc: it is to stay small. `launch` and `client` are the
agent's side.

`__main__` starts it, `serve` speaks to the agent, `processes` is the table of
what runs, `spawn` and `zygotes` make processes, `records` and `locks` are what
the next supervisor reads.
"""
