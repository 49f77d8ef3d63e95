"""The ZooKeeper client protocol (level 3.9): bytes to values and back, for servers and clients.

`messages` gathers all requests and responses, `opcodes` and `errors` their numbers, `framing` cuts
frames, `jute` holds the primitives. Nothing here knows of a socket or a clock.
Source: `zookeeper.jute`, `ZooDefs` and `KeeperException` of Apache ZooKeeper 3.9.
"""
