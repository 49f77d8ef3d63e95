"""Broker keys of the partition logs, and the topic keys that they are defaults of."""

from ottla.config.keys import Fallback, Key, TopicKey, Update, table
from ottla.config.values import (
    DOUBLE_MAX,
    INT64_MAX,
    Choice,
    Either,
    Limit,
    ValueType,
    at_least,
    between,
    one_of,
)

_T = ValueType
_LIVE = Update.CLUSTER
_DAY_MS = 24 * 60 * 60 * 1000
_WEEK_MS = 7 * _DAY_MS
_COMPRESSION = one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
_TIMESTAMPS = one_of("CreateTime", "LogAppendTime")
_POLICIES = Choice(("compact", "delete"))
_FOREVER = Either(-1, at_least(1))

LOG = table(
    Key(
        "log.dirs",
        _T.LIST,
        None,
        "Directories of the partition logs, one per disk. Default: log.dir.",
    ),
    Key(
        "log.dir",
        _T.STRING,
        "/tmp/kafka-logs",
        "The directory of the partition logs when log.dirs is not set.",
    ),
    Key(
        "log.segment.bytes",
        _T.INT,
        1024**3,
        "Size at which a segment file is closed.",
        at_least(14),
        update=_LIVE,
    ),
    Key(
        "log.roll.ms",
        _T.LONG,
        None,
        "Age at which a segment file is closed. Default: log.roll.hours.",
        at_least(1),
        update=_LIVE,
    ),
    Key("log.roll.hours", _T.INT, 168, "The same in hours.", at_least(1)),
    Key(
        "log.roll.jitter.ms",
        _T.LONG,
        None,
        "Random part taken off that age, so that segments"
        " do not all close at once. Default: log.roll.jitter.hours.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.roll.jitter.hours",
        _T.INT,
        0,
        "The same in hours.",
        at_least(0),
    ),
    Key(
        "log.retention.ms",
        _T.LONG,
        None,
        "Age at which records may be deleted; -1: never. Default: log.retention.minutes.",
        _FOREVER,
        update=_LIVE,
    ),
    Key(
        "log.retention.minutes",
        _T.INT,
        None,
        "The same in minutes. Default: log.retention.hours.",
        _FOREVER,
    ),
    Key("log.retention.hours", _T.INT, 168, "The same in hours.", _FOREVER),
    Key(
        "log.retention.bytes",
        _T.LONG,
        -1,
        "Size of a partition above which its oldest segments may be deleted; -1: no bound.",
        update=_LIVE,
    ),
    Key(
        "log.retention.check.interval.ms",
        _T.LONG,
        300_000,
        "How often logs are searched for something to delete.",
        at_least(1),
    ),
    Key(
        "log.cleanup.policy",
        _T.LIST,
        ("delete",),
        "What becomes of old records: delete, compact (the last one of each key stays), or both.",
        _POLICIES,
        update=_LIVE,
    ),
    Key(
        "log.index.size.max.bytes",
        _T.INT,
        10 * 1024 * 1024,
        "Size of an index file at which its segment is closed.",
        at_least(4),
        update=_LIVE,
    ),
    Key(
        "log.index.interval.bytes",
        _T.INT,
        4096,
        "Bytes of a segment between two entries of its index.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.flush.interval.messages",
        _T.LONG,
        INT64_MAX,
        "Records written to a partition before it is synced to disk.",
        at_least(1),
        update=_LIVE,
    ),
    Key(
        "log.flush.interval.ms",
        _T.LONG,
        None,
        "Time records may stay unsynced. Default: log.flush.scheduler.interval.ms.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.flush.scheduler.interval.ms",
        _T.LONG,
        INT64_MAX,
        "How often logs are searched for something to sync.",
        at_least(1),
    ),
    Key(
        "log.flush.offset.checkpoint.interval.ms",
        _T.INT,
        60_000,
        "How often recovery points go to disk.",
        at_least(1),
        acts=False,
    ),
    Key(
        "log.flush.start.offset.checkpoint.interval.ms",
        _T.INT,
        60_000,
        "How often the first offsets of logs go to disk.",
        at_least(1),
        acts=False,
    ),
    Key(
        "log.segment.delete.delay.ms",
        _T.LONG,
        60_000,
        "How long a deleted segment's file stays for readers that still hold it.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.preallocate",
        _T.BOOLEAN,
        False,
        "Whether segment files get their size at once.",
        update=_LIVE,
        acts=False,
    ),
    Key(
        "log.message.timestamp.type",
        _T.STRING,
        "CreateTime",
        "Whose clock stamps records: the producer's or the broker's.",
        _TIMESTAMPS,
        update=_LIVE,
    ),
    Key(
        "log.message.timestamp.difference.max.ms",
        _T.LONG,
        INT64_MAX,
        "Older name of the next two keys together.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.message.timestamp.before.max.ms",
        _T.LONG,
        INT64_MAX,
        "How far a record's timestamp may lie behind the broker's clock.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.message.timestamp.after.max.ms",
        _T.LONG,
        INT64_MAX,
        "How far a record's timestamp may lie ahead of the broker's clock.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.message.format.version",
        _T.STRING,
        "3.0-IV1",
        "Shown to tools; records are always kept in format v2.",
    ),
    Key(
        "log.message.downconversion.enable",
        _T.BOOLEAN,
        True,
        "Shown to tools; record formats older than v2 are not served.",
        update=_LIVE,
    ),
    Key(
        "log.initial.task.delay.ms",
        _T.LONG,
        30_000,
        "Time after the start before upkeep of the logs begins.",
        at_least(0),
        acts=False,
    ),
    Key(
        "num.recovery.threads.per.data.dir",
        _T.INT,
        1,
        "Threads that open a directory's logs at a start; logs checked at a time after a crash.",
        at_least(1),
        update=_LIVE,
    ),
    Key(
        "compression.type",
        _T.STRING,
        "producer",
        "How records are compressed on disk; producer: as they came.",
        _COMPRESSION,
        update=_LIVE,
    ),
    Key(
        "compression.gzip.level",
        _T.INT,
        -1,
        "Level of gzip, where the broker compresses.",
        Either(-1, between(1, 9)),
        update=_LIVE,
    ),
    Key(
        "compression.lz4.level",
        _T.INT,
        9,
        "Level of lz4, where the broker compresses.",
        between(1, 17),
        update=_LIVE,
    ),
    Key(
        "compression.zstd.level",
        _T.INT,
        3,
        "Level of zstd, where the broker compresses.",
        between(-131_072, 22),
        update=_LIVE,
    ),
)

CLEANER = table(
    Key("log.cleaner.enable", _T.BOOLEAN, True, "Whether logs are compacted at all."),
    Key(
        "log.cleaner.threads",
        _T.INT,
        1,
        "Worker processes that compact logs.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.cleaner.io.max.bytes.per.second",
        _T.DOUBLE,
        DOUBLE_MAX,
        "Bytes per second that compaction may read and write.",
        update=_LIVE,
    ),
    Key(
        "log.cleaner.dedupe.buffer.size",
        _T.LONG,
        128 * 1024 * 1024,
        "Memory for the keys seen in one pass, over all cleaner threads.",
        update=_LIVE,
    ),
    Key(
        "log.cleaner.io.buffer.size",
        _T.INT,
        512 * 1024,
        "Memory for reading and writing.",
        at_least(0),
        update=_LIVE,
        acts=False,
    ),
    Key(
        "log.cleaner.io.buffer.load.factor",
        _T.DOUBLE,
        0.9,
        "How full the memory for keys may become.",
        update=_LIVE,
    ),
    Key(
        "log.cleaner.backoff.ms",
        _T.LONG,
        15_000,
        "Pause when there is nothing to compact.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.cleaner.min.cleanable.ratio",
        _T.DOUBLE,
        0.5,
        "Share of a log not compacted yet that makes it worth a pass.",
        between(0, 1),
        update=_LIVE,
    ),
    Key(
        "log.cleaner.delete.retention.ms",
        _T.LONG,
        _DAY_MS,
        "How long the marker of a deleted key stays in a compacted log.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.cleaner.min.compaction.lag.ms",
        _T.LONG,
        0,
        "Age below which a record is not compacted.",
        at_least(0),
        update=_LIVE,
    ),
    Key(
        "log.cleaner.max.compaction.lag.ms",
        _T.LONG,
        INT64_MAX,
        "Age above which a record is compacted whatever the ratio.",
        at_least(1),
        update=_LIVE,
    ),
)

ALL = LOG | CLEANER

_HOURS = 60 * 60 * 1000
_MINUTES = 60 * 1000


def _twin(
    name: str, broker: str, factor: int = 1, *more: Fallback, limit: Limit | None = None
) -> TopicKey:
    """A topic key with the type, limit and meaning of its broker key."""
    row = _TWINS[broker]
    default = row.default
    for fallback in more:
        if default is None:
            value = _TWINS[fallback.name].default
            default = None if value is None else _scaled(value, fallback.factor)
    # A key that tools only look at says so for the topic too.
    doc = row.doc if row.doc.startswith("Shown") else f"The topic's own {broker}."
    key = Key(name, row.type, default, doc, limit or row.limit, Update.CLUSTER, row.acts)
    return TopicKey(key, (Fallback(broker, factor), *more))


def _scaled(value: object, factor: int) -> int:
    assert isinstance(value, int)
    return value * factor if value >= 0 else value


def _apart(name: str, type_: ValueType, default: bool | tuple[str, ...], doc: str) -> TopicKey:
    return TopicKey(Key(name, type_, default, doc, update=Update.CLUSTER, acts=False))


_TWINS = ALL | table(
    Key("message.max.bytes", _T.INT, 1024 * 1024 + 12, "", at_least(0)),
    Key("min.insync.replicas", _T.INT, 1, "", at_least(1)),
    Key("unclean.leader.election.enable", _T.BOOLEAN, False, ""),
)

TOPIC: dict[str, TopicKey] = {
    row.name: row
    for row in (
        _twin("cleanup.policy", "log.cleanup.policy"),
        _twin("compression.type", "compression.type"),
        _twin("compression.gzip.level", "compression.gzip.level"),
        _twin("compression.lz4.level", "compression.lz4.level"),
        _twin("compression.zstd.level", "compression.zstd.level"),
        _twin("delete.retention.ms", "log.cleaner.delete.retention.ms"),
        _twin("file.delete.delay.ms", "log.segment.delete.delay.ms"),
        _twin("flush.messages", "log.flush.interval.messages"),
        _twin("flush.ms", "log.flush.interval.ms", 1, Fallback("log.flush.scheduler.interval.ms")),
        _twin("index.interval.bytes", "log.index.interval.bytes"),
        _twin("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
        _twin("max.message.bytes", "message.max.bytes"),
        _twin("message.downconversion.enable", "log.message.downconversion.enable"),
        _twin("message.format.version", "log.message.format.version"),
        _twin("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
        _twin("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
        _twin("message.timestamp.difference.max.ms", "log.message.timestamp.difference.max.ms"),
        _twin("message.timestamp.type", "log.message.timestamp.type"),
        _twin("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
        _twin("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
        _twin("min.insync.replicas", "min.insync.replicas"),
        _twin("preallocate", "log.preallocate"),
        _twin("retention.bytes", "log.retention.bytes"),
        _twin(
            "retention.ms",
            "log.retention.ms",
            1,
            Fallback("log.retention.minutes", _MINUTES),
            Fallback("log.retention.hours", _HOURS),
            limit=at_least(-1),  # 0, unlike for a broker: a way to empty the topic
        ),
        _twin("segment.bytes", "log.segment.bytes"),
        _twin("segment.index.bytes", "log.index.size.max.bytes"),
        _twin(
            "segment.jitter.ms", "log.roll.jitter.ms", 1, Fallback("log.roll.jitter.hours", _HOURS)
        ),
        _twin("segment.ms", "log.roll.ms", 1, Fallback("log.roll.hours", _HOURS)),
        _twin("unclean.leader.election.enable", "unclean.leader.election.enable"),
        _apart(
            "leader.replication.throttled.replicas",
            _T.LIST,
            (),
            "Replicas whose outgoing copying is throttled: partition:broker, or *.",
        ),
        _apart(
            "follower.replication.throttled.replicas",
            _T.LIST,
            (),
            "Replicas whose incoming copying is throttled: partition:broker, or *.",
        ),
        _apart("remote.storage.enable", _T.BOOLEAN, False, "Tiered storage of this topic."),
    )
}

__all__ = ["ALL", "CLEANER", "LOG", "TOPIC"]
