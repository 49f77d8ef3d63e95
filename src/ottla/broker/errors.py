"""The expected outcomes that a client is told about, one exception class per error code.

Raised by every layer below `broker.api`, which alone turns `code` into bytes. Text given to the
constructor says what happened in terms of the domain; it may travel to the client as error message.
Broken protocol is `ProtocolError`, a broken disk `OSError` until storage names it, a bug
`AssertionError`.
"""

from collections.abc import Sequence
from typing import ClassVar

from ottla.protocol.kafka.errors import ErrorCode


class BrokerError(Exception):
    """An expected outcome; subclasses differ in their `code` only, unless they say otherwise."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_SERVER_ERROR


# --- The data path: producing and reading ---


class OffsetOutOfRange(BrokerError):
    """The offset is below the log's start or above its readable end."""

    code: ClassVar[ErrorCode] = ErrorCode.OFFSET_OUT_OF_RANGE


class CorruptMessage(BrokerError):
    """A batch has a wrong CRC, impossible lengths or fields that contradict each other."""

    code: ClassVar[ErrorCode] = ErrorCode.CORRUPT_MESSAGE


class RejectedRecords(BrokerError):
    """Single records are why a batch is refused: those at `indexes`, if known (KIP-467)."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_RECORD

    def __init__(self, text: str, indexes: Sequence[int] = ()) -> None:
        super().__init__(text)
        self.indexes = indexes


class InvalidRecord(RejectedRecords):
    """A well-formed batch that this log may not take (no key in a compacted topic)."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_RECORD


class RecordTooLarge(BrokerError):
    """A batch is larger than `max.message.bytes`."""

    code: ClassVar[ErrorCode] = ErrorCode.MESSAGE_TOO_LARGE


class RecordListTooLarge(BrokerError):
    """The batches of one append do not fit in one segment."""

    code: ClassVar[ErrorCode] = ErrorCode.RECORD_LIST_TOO_LARGE


class UnsupportedFormat(BrokerError):
    """Record format v0 or v1, which is not served."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT


class UnsupportedCompression(BrokerError):
    """A codec that the request's version does not allow, or that nobody knows."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


class InvalidTimestamp(RejectedRecords):
    """A record's time is too far before or after the broker's clock."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_TIMESTAMP


class InvalidRequiredAcks(BrokerError):
    """`acks` is none of -1, 0 and 1."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REQUIRED_ACKS


class InvalidFetchSize(BrokerError):
    """A fetch asks for an impossible number of bytes."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_FETCH_SIZE


class KafkaStorageError(BrokerError):
    """The disk refused; the log directory or the log is offline."""

    code: ClassVar[ErrorCode] = ErrorCode.KAFKA_STORAGE_ERROR


class LogDirNotFound(BrokerError):
    """No such log directory on this broker."""

    code: ClassVar[ErrorCode] = ErrorCode.LOG_DIR_NOT_FOUND


class RequestTimedOut(BrokerError):
    """The request's own time limit passed."""

    code: ClassVar[ErrorCode] = ErrorCode.REQUEST_TIMED_OUT


class OffsetNotAvailable(BrokerError):
    """A new leader does not know yet which offsets are committed."""

    code: ClassVar[ErrorCode] = ErrorCode.OFFSET_NOT_AVAILABLE


class FetchSessionNotFound(BrokerError):
    """The fetch session is unknown or was evicted (KIP-227)."""

    code: ClassVar[ErrorCode] = ErrorCode.FETCH_SESSION_ID_NOT_FOUND


class InvalidFetchSessionEpoch(BrokerError):
    """A fetch session's requests came out of order (KIP-227)."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_FETCH_SESSION_EPOCH


class FetchSessionTopicId(BrokerError):
    """A fetch session mixes topic names and topic ids (KIP-516)."""

    code: ClassVar[ErrorCode] = ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR


# --- Idempotent and transactional producers (KIP-98) ---


class OutOfOrderSequence(BrokerError):
    """A producer's batch does not follow its previous one."""

    code: ClassVar[ErrorCode] = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


class DuplicateSequence(BrokerError):
    """A batch was appended before and its offset is no longer remembered."""

    code: ClassVar[ErrorCode] = ErrorCode.DUPLICATE_SEQUENCE_NUMBER


class InvalidProducerEpoch(BrokerError):
    """A newer instance of the producer has written here."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_PRODUCER_EPOCH


class ProducerFenced(BrokerError):
    """A newer producer with the same transactional id took over."""

    code: ClassVar[ErrorCode] = ErrorCode.PRODUCER_FENCED


class UnknownProducerId(BrokerError):
    """Nothing is known of a producer that does not start at sequence 0."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_PRODUCER_ID


class InvalidTxnState(BrokerError):
    """The transaction is in a state that does not allow the request."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_TXN_STATE


class InvalidProducerIdMapping(BrokerError):
    """The producer id does not belong to the transactional id."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_PRODUCER_ID_MAPPING


class InvalidTransactionTimeout(BrokerError):
    """The transaction timeout is above `transaction.max.timeout.ms`."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_TRANSACTION_TIMEOUT


class ConcurrentTransactions(BrokerError):
    """The previous transaction of this producer is still being ended."""

    code: ClassVar[ErrorCode] = ErrorCode.CONCURRENT_TRANSACTIONS


class TransactionHomeFenced(BrokerError):
    """A marker came from a former home of the transaction."""

    code: ClassVar[ErrorCode] = ErrorCode.TRANSACTION_COORDINATOR_FENCED


class TransactionalIdNotFound(BrokerError):
    """No such transactional id."""

    code: ClassVar[ErrorCode] = ErrorCode.TRANSACTIONAL_ID_NOT_FOUND


class TransactionAbortable(BrokerError):
    """The transaction must be aborted, after which its producer can go on (KIP-890)."""

    code: ClassVar[ErrorCode] = ErrorCode.TRANSACTION_ABORTABLE


# --- Partitions, leadership and replication ---


class UnknownTopicOrPartition(BrokerError):
    """This broker knows no such topic or partition."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


class UnknownTopicId(BrokerError):
    """This broker knows no topic with that id."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_TOPIC_ID


class InconsistentTopicId(BrokerError):
    """The topic was deleted and created again under another id."""

    code: ClassVar[ErrorCode] = ErrorCode.INCONSISTENT_TOPIC_ID


class NotLeader(BrokerError):
    """This broker does not lead the partition, or does not hold it."""

    code: ClassVar[ErrorCode] = ErrorCode.NOT_LEADER_OR_FOLLOWER


class LeaderNotAvailable(BrokerError):
    """The partition has no leader now."""

    code: ClassVar[ErrorCode] = ErrorCode.LEADER_NOT_AVAILABLE


class ReplicaNotAvailable(BrokerError):
    """This broker holds no such replica yet."""

    code: ClassVar[ErrorCode] = ErrorCode.REPLICA_NOT_AVAILABLE


class NotEnoughReplicas(BrokerError):
    """`acks=all` and fewer in-sync replicas than `min.insync.replicas`; nothing was appended."""

    code: ClassVar[ErrorCode] = ErrorCode.NOT_ENOUGH_REPLICAS


class NotEnoughReplicasAfterAppend(BrokerError):
    """Appended, but the in-sync replicas fell below `min.insync.replicas`."""

    code: ClassVar[ErrorCode] = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND


class FencedLeaderEpoch(BrokerError):
    """The sender's leader epoch is older than ours."""

    code: ClassVar[ErrorCode] = ErrorCode.FENCED_LEADER_EPOCH


class UnknownLeaderEpoch(BrokerError):
    """The sender's leader epoch is newer than ours."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_LEADER_EPOCH


class StaleControllerEpoch(BrokerError):
    """The request came from a former controller."""

    code: ClassVar[ErrorCode] = ErrorCode.STALE_CONTROLLER_EPOCH


class StaleBrokerEpoch(BrokerError):
    """The request was meant for, or sent by, a former life of a broker."""

    code: ClassVar[ErrorCode] = ErrorCode.STALE_BROKER_EPOCH


class InvalidUpdateVersion(BrokerError):
    """A compare-and-set with an outdated version (partition epoch)."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_UPDATE_VERSION


class IneligibleReplica(BrokerError):
    """A replica that may not join the in-sync replicas now."""

    code: ClassVar[ErrorCode] = ErrorCode.INELIGIBLE_REPLICA


class NewLeaderElected(BrokerError):
    """The AlterPartition asked for a change that elected another leader."""

    code: ClassVar[ErrorCode] = ErrorCode.NEW_LEADER_ELECTED


class BrokerNotAvailable(BrokerError):
    """No such broker is alive."""

    code: ClassVar[ErrorCode] = ErrorCode.BROKER_NOT_AVAILABLE


class NetworkFailure(BrokerError):
    """Another broker could not be reached."""

    code: ClassVar[ErrorCode] = ErrorCode.NETWORK_EXCEPTION


# --- Groups ---


class GroupHomeLoading(BrokerError):
    """The group's home is still reading its partition."""

    code: ClassVar[ErrorCode] = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


class GroupHomeNotAvailable(BrokerError):
    """No broker is the group's home now."""

    code: ClassVar[ErrorCode] = ErrorCode.COORDINATOR_NOT_AVAILABLE


class NotGroupHome(BrokerError):
    """Another broker is the group's home."""

    code: ClassVar[ErrorCode] = ErrorCode.NOT_COORDINATOR


class IllegalGeneration(BrokerError):
    """The member speaks of another generation of the group."""

    code: ClassVar[ErrorCode] = ErrorCode.ILLEGAL_GENERATION


class InconsistentGroupProtocol(BrokerError):
    """The member shares no protocol with the group."""

    code: ClassVar[ErrorCode] = ErrorCode.INCONSISTENT_GROUP_PROTOCOL


class InvalidGroupId(BrokerError):
    """The group id is empty or malformed."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_GROUP_ID


class UnknownMemberId(BrokerError):
    """The group knows no such member."""

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_MEMBER_ID


class MemberIdRequired(BrokerError):
    """A new member has to join again with the id it was given (KIP-394)."""

    code: ClassVar[ErrorCode] = ErrorCode.MEMBER_ID_REQUIRED


class FencedInstanceId(BrokerError):
    """Another member took over the static instance id (KIP-345)."""

    code: ClassVar[ErrorCode] = ErrorCode.FENCED_INSTANCE_ID


class UnreleasedInstanceId(BrokerError):
    """The static instance id is still in use (KIP-848)."""

    code: ClassVar[ErrorCode] = ErrorCode.UNRELEASED_INSTANCE_ID


class FencedMemberEpoch(BrokerError):
    """The member's epoch is not the group's (KIP-848)."""

    code: ClassVar[ErrorCode] = ErrorCode.FENCED_MEMBER_EPOCH


class StaleMemberEpoch(BrokerError):
    """The member's epoch is outdated (KIP-848)."""

    code: ClassVar[ErrorCode] = ErrorCode.STALE_MEMBER_EPOCH


class UnsupportedAssignor(BrokerError):
    """The group does not know the assignor (KIP-848)."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED_ASSIGNOR


class InvalidSessionTimeout(BrokerError):
    """The session timeout is outside the broker's bounds."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_SESSION_TIMEOUT


class RebalanceInProgress(BrokerError):
    """The group is rebalancing; the member has to join again."""

    code: ClassVar[ErrorCode] = ErrorCode.REBALANCE_IN_PROGRESS


class OffsetMetadataTooLarge(BrokerError):
    """The metadata of a committed offset is too long."""

    code: ClassVar[ErrorCode] = ErrorCode.OFFSET_METADATA_TOO_LARGE


class InvalidCommitOffsetSize(BrokerError):
    """The commit does not fit in one batch."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_COMMIT_OFFSET_SIZE


class UnstableOffsetCommit(BrokerError):
    """Offsets of an open transaction are pending (KIP-447)."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSTABLE_OFFSET_COMMIT


class GroupFull(BrokerError):
    """The group has `group.max.size` members."""

    code: ClassVar[ErrorCode] = ErrorCode.GROUP_MAX_SIZE_REACHED


class GroupNotEmpty(BrokerError):
    """The group has members."""

    code: ClassVar[ErrorCode] = ErrorCode.NON_EMPTY_GROUP


class GroupIdNotFound(BrokerError):
    """No such group."""

    code: ClassVar[ErrorCode] = ErrorCode.GROUP_ID_NOT_FOUND


class GroupSubscribedToTopic(BrokerError):
    """A member of the group is subscribed to the topic."""

    code: ClassVar[ErrorCode] = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC


# --- Administration ---


class NotController(BrokerError):
    """This broker is not the controller."""

    code: ClassVar[ErrorCode] = ErrorCode.NOT_CONTROLLER


class TopicAlreadyExists(BrokerError):
    """A topic of that name exists, or one that differs only in `.` and `_`."""

    code: ClassVar[ErrorCode] = ErrorCode.TOPIC_ALREADY_EXISTS


class InvalidTopic(BrokerError):
    """The topic's name is malformed, or the topic is internal."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_TOPIC_EXCEPTION


class InvalidPartitions(BrokerError):
    """An impossible number of partitions."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_PARTITIONS


class InvalidReplicationFactor(BrokerError):
    """An impossible number of replicas, or fewer brokers than replicas."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REPLICATION_FACTOR


class InvalidReplicaAssignment(BrokerError):
    """An assignment with unknown or repeated brokers, or gaps."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REPLICA_ASSIGNMENT


class InvalidConfig(BrokerError):
    """An unknown key or a bad value."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_CONFIG


class InvalidRequest(BrokerError):
    """The request contradicts itself."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REQUEST


class PolicyViolation(BrokerError):
    """A policy of this cluster forbids it."""

    code: ClassVar[ErrorCode] = ErrorCode.POLICY_VIOLATION


class TopicDeletionDisabled(BrokerError):
    """`delete.topic.enable` is false."""

    code: ClassVar[ErrorCode] = ErrorCode.TOPIC_DELETION_DISABLED


class OperationNotAttempted(BrokerError):
    """Another part of the same request failed first."""

    code: ClassVar[ErrorCode] = ErrorCode.OPERATION_NOT_ATTEMPTED


class ReassignmentInProgress(BrokerError):
    """The partition is being moved."""

    code: ClassVar[ErrorCode] = ErrorCode.REASSIGNMENT_IN_PROGRESS


class NoReassignmentInProgress(BrokerError):
    """The partition is not being moved."""

    code: ClassVar[ErrorCode] = ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


class PreferredLeaderNotAvailable(BrokerError):
    """The preferred leader is not alive or not in sync."""

    code: ClassVar[ErrorCode] = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE


class EligibleLeadersNotAvailable(BrokerError):
    """No replica may become leader."""

    code: ClassVar[ErrorCode] = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE


class ElectionNotNeeded(BrokerError):
    """The leader is already the one asked for."""

    code: ClassVar[ErrorCode] = ErrorCode.ELECTION_NOT_NEEDED


class ThrottlingQuotaExceeded(BrokerError):
    """Too many changes in a short time."""

    code: ClassVar[ErrorCode] = ErrorCode.THROTTLING_QUOTA_EXCEEDED


class FeatureUpdateFailed(BrokerError):
    """A feature's version cannot be changed as asked."""

    code: ClassVar[ErrorCode] = ErrorCode.FEATURE_UPDATE_FAILED


class ResourceNotFound(BrokerError):
    """No such resource."""

    code: ClassVar[ErrorCode] = ErrorCode.RESOURCE_NOT_FOUND


class UnsupportedVersion(BrokerError):
    """The request's version cannot express or do this."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED_VERSION


class ListenerNotFound(BrokerError):
    """The leader has no listener of the name the client used."""

    code: ClassVar[ErrorCode] = ErrorCode.LISTENER_NOT_FOUND


# --- Security ---


class ClusterAuthorizationFailed(BrokerError):
    """Not allowed on the cluster."""

    code: ClassVar[ErrorCode] = ErrorCode.CLUSTER_AUTHORIZATION_FAILED


class TopicAuthorizationFailed(BrokerError):
    """Not allowed on the topic."""

    code: ClassVar[ErrorCode] = ErrorCode.TOPIC_AUTHORIZATION_FAILED


class GroupAuthorizationFailed(BrokerError):
    """Not allowed on the group."""

    code: ClassVar[ErrorCode] = ErrorCode.GROUP_AUTHORIZATION_FAILED


class TransactionalIdAuthorizationFailed(BrokerError):
    """Not allowed on the transactional id."""

    code: ClassVar[ErrorCode] = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


class SaslAuthenticationFailed(BrokerError):
    """Wrong credentials."""

    code: ClassVar[ErrorCode] = ErrorCode.SASL_AUTHENTICATION_FAILED


class UnsupportedSaslMechanism(BrokerError):
    """A mechanism that is not enabled."""

    code: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED_SASL_MECHANISM


class IllegalSaslState(BrokerError):
    """An authentication step out of turn."""

    code: ClassVar[ErrorCode] = ErrorCode.ILLEGAL_SASL_STATE


class SecurityDisabled(BrokerError):
    """No authorizer is configured."""

    code: ClassVar[ErrorCode] = ErrorCode.SECURITY_DISABLED
