"""Broker keys of consumer groups, transactions and producers."""

from ottla.config.keys import Key, Update, table
from ottla.config.values import INT32_MAX, Choice, ValueType, at_least

_T = ValueType
_DAY_MS = 24 * 60 * 60 * 1000

GROUPS = table(
    Key(
        "group.min.session.timeout.ms",
        _T.INT,
        6_000,
        "The shortest session timeout that a group member may ask for.",
        at_least(1),
    ),
    Key(
        "group.max.session.timeout.ms",
        _T.INT,
        1_800_000,
        "The longest session timeout that a group member may ask for.",
        at_least(1),
    ),
    Key(
        "group.initial.rebalance.delay.ms",
        _T.INT,
        3_000,
        "How long an empty group waits for more members before its first rebalance.",
        at_least(0),
    ),
    Key("group.max.size", _T.INT, INT32_MAX, "Members of one group.", at_least(1)),
    Key(
        "group.coordinator.rebalance.protocols",
        _T.LIST,
        ("classic",),
        "Group protocols that are served.",
        Choice(("classic", "consumer", "share")),
        acts=False,
    ),
    Key(
        "offset.metadata.max.bytes",
        _T.INT,
        4096,
        "Length of the text that a client may add to a committed offset.",
        at_least(0),
    ),
    Key(
        "offsets.topic.num.partitions",
        _T.INT,
        50,
        "Partitions of the offsets topic; not to be changed once it is there.",
        at_least(1),
    ),
    Key(
        "offsets.topic.replication.factor",
        _T.SHORT,
        3,
        "Replicas of the offsets topic; it is made once as many brokers are there.",
        at_least(1),
    ),
    Key(
        "offsets.topic.segment.bytes",
        _T.INT,
        100 * 1024 * 1024,
        "Segment size of the offsets topic; short segments load faster.",
        at_least(1),
    ),
    Key(
        "offsets.topic.compression.codec",
        _T.INT,
        0,
        "Codec of the offsets topic's records: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.",
    ),
    Key(
        "offsets.load.buffer.size",
        _T.INT,
        5 * 1024 * 1024,
        "Bytes read at a time when groups are loaded.",
        at_least(1),
    ),
    Key(
        "offsets.retention.minutes",
        _T.INT,
        7 * 24 * 60,
        "How long offsets of a group without members are kept.",
        at_least(1),
    ),
    Key(
        "offsets.retention.check.interval.ms",
        _T.LONG,
        600_000,
        "How often offsets are searched for expired ones.",
        at_least(1),
    ),
    Key(
        "offsets.commit.timeout.ms",
        _T.INT,
        5_000,
        "How long a commit may wait for the offsets topic's replicas.",
        at_least(1),
    ),
)

TRANSACTIONS = table(
    Key(
        "transaction.state.log.num.partitions",
        _T.INT,
        50,
        "Partitions of the transactions topic.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.state.log.replication.factor",
        _T.SHORT,
        3,
        "Replicas of the transactions topic.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.state.log.min.isr",
        _T.INT,
        2,
        "Replicas of the transactions topic that must be in sync.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.state.log.segment.bytes",
        _T.INT,
        100 * 1024 * 1024,
        "Segment size of the transactions topic.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.state.log.load.buffer.size",
        _T.INT,
        5 * 1024 * 1024,
        "Bytes read at a time when transactions are loaded.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.max.timeout.ms",
        _T.INT,
        900_000,
        "The longest transaction that a client may ask for.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transactional.id.expiration.ms",
        _T.INT,
        7 * _DAY_MS,
        "How long an unused transactional id is remembered.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        _T.INT,
        10_000,
        "How often transactions over their time are aborted.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        _T.INT,
        3_600_000,
        "How often unused transactional ids are forgotten.",
        at_least(1),
        acts=False,
    ),
    Key(
        "transaction.partition.verification.enable",
        _T.BOOLEAN,
        True,
        "Whether a transactional write is checked against its coordinator.",
        update=Update.CLUSTER,
        acts=False,
    ),
    Key(
        "producer.id.expiration.ms",
        _T.INT,
        _DAY_MS,
        "How long the sequence numbers of a silent producer are remembered.",
        at_least(1),
        update=Update.CLUSTER,
    ),
    Key(
        "producer.id.expiration.check.interval.ms",
        _T.INT,
        600_000,
        "How often such producers are forgotten.",
        at_least(1),
        acts=False,
    ),
)

ALL = GROUPS | TRANSACTIONS

__all__ = ["ALL", "GROUPS", "TRANSACTIONS"]
