"""The control plane's methods. Handlers know no transport: `router` serves them
to gRPC clients, to the agent in this process and to workloads behind it."""
