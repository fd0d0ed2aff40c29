"""The mesh's pages: a process of its own that reads through the server's API.

It asks the API on the Unix socket and never opens the store: what it shows is
what `callmesh get` shows, instances in the loop's memory included, and no read
transaction of a page can hold up the writer. The price is that there are no
pages while the server is away; the ingress then answers with a static one.
"""
