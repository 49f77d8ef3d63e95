"""Which classes and versions belong to an API; loads a module of messages when it is asked for.

The versions repeat what the declarations say (a test compares them), so that a header can be read
and ApiVersions answered without importing sixty modules.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import NEVER


class Entry(NamedTuple):
    """One API: its module, the stem of its class names, its versions, the first flexible one."""

    module: str
    stem: str
    first: int
    last: int
    flexible_from: int

    def request_class(self) -> type[Any]:
        """The class of its requests; imports its module."""
        return self._load("Request")

    def response_class(self) -> type[Any]:
        """The class of its responses; imports its module."""
        return self._load("Response")

    def _load(self, ending: str) -> type[Any]:
        module = importlib.import_module(f"ottla.protocol.kafka.messages.{self.module}")
        loaded: type[Any] = getattr(module, self.stem + ending)
        return loaded


ENTRIES: Final[Mapping[ApiKey, Entry]] = {
    ApiKey.PRODUCE: Entry("produce", "Produce", 3, 11, 9),
    ApiKey.FETCH: Entry("fetch", "Fetch", 4, 17, 12),
    ApiKey.LIST_OFFSETS: Entry("list_offsets", "ListOffsets", 1, 9, 6),
    ApiKey.METADATA: Entry("metadata", "Metadata", 0, 12, 9),
    ApiKey.LEADER_AND_ISR: Entry("leader_and_isr", "LeaderAndIsr", 4, 7, 4),
    ApiKey.STOP_REPLICA: Entry("stop_replica", "StopReplica", 2, 4, 2),
    ApiKey.UPDATE_METADATA: Entry("update_metadata", "UpdateMetadata", 6, 8, 6),
    ApiKey.CONTROLLED_SHUTDOWN: Entry("controlled_shutdown", "ControlledShutdown", 0, 3, 3),
    ApiKey.OFFSET_COMMIT: Entry("offset_commit", "OffsetCommit", 2, 9, 8),
    ApiKey.OFFSET_FETCH: Entry("offset_fetch", "OffsetFetch", 1, 9, 6),
    ApiKey.FIND_COORDINATOR: Entry("find_coordinator", "FindCoordinator", 0, 6, 3),
    ApiKey.JOIN_GROUP: Entry("join_group", "JoinGroup", 0, 9, 6),
    ApiKey.HEARTBEAT: Entry("heartbeat", "Heartbeat", 0, 4, 4),
    ApiKey.LEAVE_GROUP: Entry("leave_group", "LeaveGroup", 0, 5, 4),
    ApiKey.SYNC_GROUP: Entry("sync_group", "SyncGroup", 0, 5, 4),
    ApiKey.DESCRIBE_GROUPS: Entry("describe_groups", "DescribeGroups", 0, 5, 5),
    ApiKey.LIST_GROUPS: Entry("list_groups", "ListGroups", 0, 5, 3),
    ApiKey.SASL_HANDSHAKE: Entry("sasl_handshake", "SaslHandshake", 0, 1, NEVER),
    ApiKey.API_VERSIONS: Entry("api_versions", "ApiVersions", 0, 4, 3),
    ApiKey.CREATE_TOPICS: Entry("create_topics", "CreateTopics", 2, 7, 5),
    ApiKey.DELETE_TOPICS: Entry("delete_topics", "DeleteTopics", 1, 6, 4),
    ApiKey.DELETE_RECORDS: Entry("delete_records", "DeleteRecords", 0, 2, 2),
    ApiKey.INIT_PRODUCER_ID: Entry("init_producer_id", "InitProducerId", 0, 5, 2),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: Entry(
        "offset_for_leader_epoch", "OffsetForLeaderEpoch", 2, 4, 4
    ),
    ApiKey.ADD_PARTITIONS_TO_TXN: Entry("add_partitions_to_txn", "AddPartitionsToTxn", 0, 5, 3),
    ApiKey.ADD_OFFSETS_TO_TXN: Entry("add_offsets_to_txn", "AddOffsetsToTxn", 0, 4, 3),
    ApiKey.END_TXN: Entry("end_txn", "EndTxn", 0, 4, 3),
    ApiKey.WRITE_TXN_MARKERS: Entry("write_txn_markers", "WriteTxnMarkers", 1, 1, 1),
    ApiKey.TXN_OFFSET_COMMIT: Entry("txn_offset_commit", "TxnOffsetCommit", 0, 4, 3),
    ApiKey.DESCRIBE_ACLS: Entry("describe_acls", "DescribeAcls", 1, 3, 2),
    ApiKey.CREATE_ACLS: Entry("create_acls", "CreateAcls", 1, 3, 2),
    ApiKey.DELETE_ACLS: Entry("delete_acls", "DeleteAcls", 1, 3, 2),
    ApiKey.DESCRIBE_CONFIGS: Entry("describe_configs", "DescribeConfigs", 1, 4, 4),
    ApiKey.ALTER_CONFIGS: Entry("alter_configs", "AlterConfigs", 0, 2, 2),
    ApiKey.ALTER_REPLICA_LOG_DIRS: Entry("alter_replica_log_dirs", "AlterReplicaLogDirs", 1, 2, 2),
    ApiKey.DESCRIBE_LOG_DIRS: Entry("describe_log_dirs", "DescribeLogDirs", 1, 4, 2),
    ApiKey.SASL_AUTHENTICATE: Entry("sasl_authenticate", "SaslAuthenticate", 0, 2, 2),
    ApiKey.CREATE_PARTITIONS: Entry("create_partitions", "CreatePartitions", 0, 3, 2),
    ApiKey.CREATE_DELEGATION_TOKEN: Entry(
        "create_delegation_token", "CreateDelegationToken", 1, 3, 2
    ),
    ApiKey.RENEW_DELEGATION_TOKEN: Entry("renew_delegation_token", "RenewDelegationToken", 1, 2, 2),
    ApiKey.EXPIRE_DELEGATION_TOKEN: Entry(
        "expire_delegation_token", "ExpireDelegationToken", 1, 2, 2
    ),
    ApiKey.DESCRIBE_DELEGATION_TOKEN: Entry(
        "describe_delegation_token", "DescribeDelegationToken", 1, 3, 2
    ),
    ApiKey.DELETE_GROUPS: Entry("delete_groups", "DeleteGroups", 0, 2, 2),
    ApiKey.ELECT_LEADERS: Entry("elect_leaders", "ElectLeaders", 0, 2, 2),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: Entry(
        "incremental_alter_configs", "IncrementalAlterConfigs", 0, 1, 1
    ),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: Entry(
        "alter_partition_reassignments", "AlterPartitionReassignments", 0, 0, 0
    ),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: Entry(
        "list_partition_reassignments", "ListPartitionReassignments", 0, 0, 0
    ),
    ApiKey.OFFSET_DELETE: Entry("offset_delete", "OffsetDelete", 0, 0, NEVER),
    ApiKey.DESCRIBE_CLIENT_QUOTAS: Entry("describe_client_quotas", "DescribeClientQuotas", 0, 1, 1),
    ApiKey.ALTER_CLIENT_QUOTAS: Entry("alter_client_quotas", "AlterClientQuotas", 0, 1, 1),
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: Entry(
        "describe_user_scram_credentials", "DescribeUserScramCredentials", 0, 0, 0
    ),
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: Entry(
        "alter_user_scram_credentials", "AlterUserScramCredentials", 0, 0, 0
    ),
    ApiKey.ALTER_PARTITION: Entry("alter_partition", "AlterPartition", 2, 3, 0),
    ApiKey.UPDATE_FEATURES: Entry("update_features", "UpdateFeatures", 0, 1, 0),
    ApiKey.ENVELOPE: Entry("envelope", "Envelope", 0, 0, 0),
    ApiKey.DESCRIBE_CLUSTER: Entry("describe_cluster", "DescribeCluster", 0, 1, 0),
    ApiKey.DESCRIBE_PRODUCERS: Entry("describe_producers", "DescribeProducers", 0, 0, 0),
    ApiKey.DESCRIBE_TRANSACTIONS: Entry("describe_transactions", "DescribeTransactions", 0, 0, 0),
    ApiKey.LIST_TRANSACTIONS: Entry("list_transactions", "ListTransactions", 0, 1, 0),
    ApiKey.ALLOCATE_PRODUCER_IDS: Entry("allocate_producer_ids", "AllocateProducerIds", 0, 0, 0),
    ApiKey.CONSUMER_GROUP_HEARTBEAT: Entry(
        "consumer_group_heartbeat", "ConsumerGroupHeartbeat", 0, 1, 0
    ),
    ApiKey.CONSUMER_GROUP_DESCRIBE: Entry(
        "consumer_group_describe", "ConsumerGroupDescribe", 0, 1, 0
    ),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: Entry(
        "describe_topic_partitions", "DescribeTopicPartitions", 0, 0, 0
    ),
}


def request_class(api: ApiKey) -> type[Any]:
    """The class of an API's requests, imported on demand."""
    return ENTRIES[api].request_class()


def response_class(api: ApiKey) -> type[Any]:
    """The class of an API's responses, imported on demand."""
    return ENTRIES[api].response_class()
