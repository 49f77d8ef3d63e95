"""Broker keys: identity, listeners, ensemble, controller, replication."""

from ottla.config.keys import Key, Update, table
from ottla.config.values import INT32_MAX, ValueType, at_least, between, one_of

_T = ValueType
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
EMBEDDED = "embedded"
"""The value of `zookeeper.connect` that asks for a coordinator inside the broker's process."""

IDENTITY = table(
    Key(
        "broker.id",
        _T.INT,
        -1,
        "Id of this broker, unique in its cluster. -1: the ensemble hands"
        " out one above reserved.broker.max.id at the first start, kept in meta.properties.",
        at_least(-1),
    ),
    Key(
        "node.id",
        _T.INT,
        -1,
        "Another name of broker.id; when both are set they must agree.",
        at_least(-1),
    ),
    Key(
        "broker.id.generation.enable",
        _T.BOOLEAN,
        True,
        "Whether a broker without broker.id gets one from the ensemble.",
    ),
    Key(
        "reserved.broker.max.id",
        _T.INT,
        1000,
        "The highest id that is given by hand; generated ids are above it.",
        at_least(0),
    ),
    Key(
        "broker.rack",
        _T.STRING,
        None,
        "Where this broker stands; replicas are spread over racks, consumers may prefer theirs.",
    ),
    Key(
        "replica.selector.class",
        _T.STRING,
        None,
        "Which replica a consumer that names its rack is sent to: the leader, or (rack-aware) one"
        " of its own rack.",
        one_of(
            "org.apache.kafka.common.replica.LeaderSelector",
            "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        ),
    ),
    Key(
        "inter.broker.protocol.version",
        _T.STRING,
        "3.9-IV0",
        "Shown to tools that ask for it. Every broker of a cluster speaks the 3.9 level.",
    ),
)

LISTENERS = table(
    Key(
        "listeners",
        _T.STRING,
        "PLAINTEXT://:9092",
        "Where the broker listens: NAME://host:port with commas. An empty host is every"
        " interface, port 0 a free port.",
    ),
    Key(
        "advertised.listeners",
        _T.STRING,
        None,
        "What clients are told to connect to, where that differs from listeners: behind NAT, in"
        " containers. Default: listeners, with this machine's name for an empty host.",
    ),
    Key(
        "listener.security.protocol.map",
        _T.STRING,
        ",".join(f"{name}:{name}" for name in _PROTOCOLS),
        "Which security protocol each listener name speaks: NAME:PROTOCOL with commas.",
    ),
    Key(
        "inter.broker.listener.name",
        _T.STRING,
        None,
        "The listener that brokers use among themselves. Default: the one of"
        " security.inter.broker.protocol.",
    ),
    Key(
        "security.inter.broker.protocol",
        _T.STRING,
        "PLAINTEXT",
        "Security protocol between brokers, when inter.broker.listener.name is not set.",
        one_of(*_PROTOCOLS),
    ),
)

ENSEMBLE = table(
    Key(
        "zookeeper.connect",
        _T.STRING,
        None,
        "The coordinator ensemble: host:port with commas and an optional /chroot, or `embedded`:"
        " this broker runs a one-member coordinator inside its own process.",
    ),
    Key(
        "zookeeper.session.timeout.ms",
        _T.INT,
        18_000,
        "Without a word for this long, the ensemble declares this broker dead.",
        at_least(1),
    ),
    Key(
        "zookeeper.connection.timeout.ms",
        _T.INT,
        None,
        "How long the start waits for the ensemble. Default: zookeeper.session.timeout.ms.",
        at_least(1),
    ),
    Key(
        "zookeeper.max.in.flight.requests",
        _T.INT,
        10,
        "Requests sent to the ensemble before the first answer has to arrive.",
        at_least(1),
        acts=False,
    ),
    Key(
        "embedded.coordinator.client.port",
        _T.INT,
        2181,
        "Client port of the coordinator of zookeeper.connect=embedded; 0: a free port.",
        between(0, 65_535),
    ),
    Key(
        "embedded.coordinator.client.host",
        _T.STRING,
        "localhost",
        "Interface of that client port; empty: every interface.",
    ),
)

CONTROLLER = table(
    Key("delete.topic.enable", _T.BOOLEAN, True, "Whether topics may be deleted."),
    Key(
        "auto.create.topics.enable",
        _T.BOOLEAN,
        True,
        "Whether naming an unknown topic in a metadata request creates it.",
    ),
    Key(
        "num.partitions",
        _T.INT,
        1,
        "Partitions of a topic made without a number of its own.",
        at_least(1),
    ),
    Key(
        "default.replication.factor",
        _T.INT,
        1,
        "Replicas of a topic made without a number of its own.",
        between(1, 32_767),
    ),
    Key(
        "auto.leader.rebalance.enable",
        _T.BOOLEAN,
        True,
        "Whether the controller moves leaders back to their preferred replicas.",
    ),
    Key(
        "leader.imbalance.per.broker.percentage",
        _T.INT,
        10,
        "Share of a broker's partitions led elsewhere, in percent, that starts such a move.",
        at_least(0),
    ),
    Key(
        "leader.imbalance.check.interval.seconds",
        _T.LONG,
        300,
        "How often the controller looks at that share.",
        at_least(1),
    ),
    Key(
        "controller.socket.timeout.ms",
        _T.INT,
        30_000,
        "How long the controller waits for a broker's answer.",
        at_least(1),
    ),
    Key(
        "controlled.shutdown.enable",
        _T.BOOLEAN,
        True,
        "Whether a clean stop hands this broker's leaders over first.",
    ),
    Key(
        "controlled.shutdown.max.retries",
        _T.INT,
        3,
        "Attempts at handing over before the broker stops anyway.",
        at_least(0),
    ),
    Key(
        "controlled.shutdown.retry.backoff.ms",
        _T.LONG,
        5_000,
        "Pause between those attempts.",
        at_least(0),
    ),
)

REPLICATION = table(
    Key(
        "replica.lag.time.max.ms",
        _T.LONG,
        30_000,
        "A follower that has not caught up for this long leaves the in-sync replicas.",
        at_least(1),
    ),
    Key(
        "replica.fetch.min.bytes",
        _T.INT,
        1,
        "Bytes a follower's fetch waits for, up to replica.fetch.wait.max.ms.",
        at_least(0),
    ),
    Key(
        "replica.fetch.max.bytes",
        _T.INT,
        1024 * 1024,
        "Bytes of one partition in an answer to a follower; the first batch comes whole anyway.",
        at_least(0),
    ),
    Key(
        "replica.fetch.response.max.bytes",
        _T.INT,
        10 * 1024 * 1024,
        "Bytes of all partitions in an answer to a follower.",
        at_least(0),
    ),
    Key(
        "replica.fetch.wait.max.ms",
        _T.INT,
        500,
        "How long a leader holds a follower's fetch back when there is nothing new.",
        at_least(0),
    ),
    Key(
        "replica.fetch.backoff.ms",
        _T.INT,
        1_000,
        "Pause of a partition's fetching after an error.",
        at_least(0),
    ),
    Key(
        "replica.socket.timeout.ms",
        _T.INT,
        30_000,
        "How long a follower waits for its leader's answer.",
        at_least(1),
    ),
    Key(
        "replica.high.watermark.checkpoint.interval.ms",
        _T.LONG,
        5_000,
        "How often high watermarks go to disk.",
        at_least(1),
    ),
    Key(
        "num.replica.fetchers",
        _T.INT,
        1,
        "Connections that a follower keeps to each leader broker.",
        at_least(1),
        update=Update.CLUSTER,
    ),
    Key(
        "num.replica.alter.log.dirs.threads",
        _T.INT,
        None,
        "Logs that are moved between log directories at a time; as many as directories if unset.",
        at_least(1),
    ),
    Key(
        "unclean.leader.election.enable",
        _T.BOOLEAN,
        False,
        "Whether a replica that is not in sync may lead when no other is left. It loses records.",
        update=Update.CLUSTER,
    ),
    Key(
        "min.insync.replicas",
        _T.INT,
        1,
        "Replicas that must be in sync for a write with acks=all; below, it is refused.",
        at_least(1),
        update=Update.CLUSTER,
    ),
)

QUEUES = table(
    Key(
        "socket.request.max.bytes",
        _T.INT,
        100 * 1024 * 1024,
        "The longest request; a connection that claims more is closed.",
        at_least(1),
    ),
    Key(
        "socket.send.buffer.bytes",
        _T.INT,
        100 * 1024,
        "SO_SNDBUF of each connection that is accepted; -1: the system's choice.",
        at_least(-1),
    ),
    Key(
        "socket.receive.buffer.bytes",
        _T.INT,
        -1,
        "SO_RCVBUF of each connection that is accepted; -1: the system's choice, which grows for "
        "who sends much. With Kafka's default, 102400, large batches cost up to twice the CPU.",
        at_least(-1),
    ),
    Key(
        "socket.listen.backlog.size",
        _T.INT,
        50,
        "Connections that may wait to be accepted.",
        at_least(1),
        acts=False,
    ),
    Key(
        "queued.max.requests",
        _T.INT,
        500,
        "Requests of one broker that may wait before it stops reading.",
        at_least(1),
    ),
    Key(
        "queued.max.request.bytes",
        _T.LONG,
        -1,
        "Bytes of all requests that are not answered yet; at it, connections that owe"
        " replies or send large requests are not read on. 0 or less: no bound.",
    ),
    Key(
        "connections.max.idle.ms",
        _T.LONG,
        600_000,
        "A connection without a request for this long is closed; negative: never.",
    ),
    Key(
        "max.connections",
        _T.INT,
        INT32_MAX,
        "Client connections of this broker.",
        at_least(0),
        update=Update.CLUSTER,
    ),
    Key(
        "max.connections.per.ip",
        _T.INT,
        INT32_MAX,
        "Client connections from one address.",
        at_least(0),
        update=Update.CLUSTER,
    ),
    Key(
        "fetch.max.bytes",
        _T.INT,
        55 * 1024 * 1024,
        "Bytes of an answer to a consumer, whatever it asks for.",
        at_least(1024),
    ),
    Key(
        "max.incremental.fetch.session.cache.slots",
        _T.INT,
        1_000,
        "Consumers and followers whose fetch state is remembered between requests.",
        at_least(0),
    ),
    Key(
        "background.threads",
        _T.INT,
        10,
        "Upper bound of worker processes for work per record, away from the network loop.",
        at_least(1),
        update=Update.CLUSTER,
        acts=False,
    ),
    Key(
        "request.timeout.ms",
        _T.INT,
        30_000,
        "How long this broker waits for an answer of another where no other key says so.",
        at_least(1),
        acts=False,
    ),
    Key(
        "message.max.bytes",
        _T.INT,
        1024 * 1024 + 12,
        "The largest record batch, after compression.",
        at_least(0),
        update=Update.CLUSTER,
    ),
    Key(
        "max.request.partition.size.limit",
        _T.INT,
        2_000,
        "Partitions in one answer to DescribeTopicPartitions.",
        at_least(1),
        acts=False,
    ),
)

ALL = IDENTITY | LISTENERS | ENSEMBLE | CONTROLLER | REPLICATION | QUEUES

__all__ = [
    "ALL",
    "CONTROLLER",
    "EMBEDDED",
    "ENSEMBLE",
    "IDENTITY",
    "LISTENERS",
    "QUEUES",
    "REPLICATION",
]
