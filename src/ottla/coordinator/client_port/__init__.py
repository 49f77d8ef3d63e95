"""The port that ZooKeeper clients connect to: sessions, requests in order, watches.

`port.ClientPort` is the listener, `connection` one client's order of requests, `sending` the way
out, `statistics` counts. What it asks of the member stands in `ottla.coordinator.ports`.
"""
