"""What the node's Envoy and its gRPC callers are told, and how.

`snapshot.compile_snapshot` turns the mesh view into resources, purely;
`ads.AdsServer` serves them on the node's Unix socket.
"""
