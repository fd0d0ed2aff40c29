"""`callmesh up`: the server and the agent of one node in one process."""
