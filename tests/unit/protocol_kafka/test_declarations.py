"""What a declared class does, and that the tables agree with the declarations."""

import copy
import subprocess
import sys
import uuid

import pytest

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode, UnsupportedVersion
from ottla.protocol.kafka.messages.fetch import FetchRequest, PartitionData, ReplicaState
from ottla.protocol.kafka.messages.headers import RequestHeader
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest
from ottla.protocol.kafka.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from ottla.protocol.kafka.messages.registry import ENTRIES, request_class, response_class
from ottla.protocol.kafka.schema import STRING, at, message, schema_of, shared_default, struct
from ottla.protocol.kafka.versions import advertised_versions, valid_versions


@pytest.mark.parametrize("api", ApiKey)
def test_the_registry_says_what_the_declarations_say(api: ApiKey):
    entry = ENTRIES[api]
    for cls in (request_class(api), response_class(api)):
        schema = schema_of(cls)
        assert schema.api is api
        assert schema.versions == (entry.first, entry.last) == valid_versions(api)
        assert schema.flexible_from == entry.flexible_from


def test_only_produce_advertises_more_than_the_codec_has():
    """KAFKA-18659: librdkafka stops compressing when Produce starts above 0."""
    assert advertised_versions(ApiKey.PRODUCE) == (0, 11)
    assert valid_versions(ApiKey.PRODUCE) == (3, 11)
    assert 2 not in valid_versions(ApiKey.PRODUCE)
    others = [api for api in ApiKey if api is not ApiKey.PRODUCE]
    assert all(advertised_versions(api) == valid_versions(api) for api in others)


def test_every_argument_has_the_default_of_the_schema():
    request = FetchRequest()
    assert (request.max_wait_ms, request.replica_id, request.max_bytes) == (0, -1, 2**31 - 1)
    assert request.topics == []
    assert request.topics is not FetchRequest().topics
    assert request.cluster_id is None
    assert request.replica_state == ReplicaState()
    assert PartitionData().records is None
    assert OffsetCommitRequest(member_id="m").generation_id_or_member_epoch == -1


def test_arguments_are_known_keywords_only():
    with pytest.raises(TypeError):
        HeartbeatRequest(group="g")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        HeartbeatRequest("g")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        HeartbeatRequest().groupe = 1  # type: ignore[attr-defined]


def test_values_compare_and_show_their_fields():
    one = HeartbeatRequest(group_id="g", generation_id=7)
    assert one == HeartbeatRequest(group_id="g", generation_id=7)
    assert one != HeartbeatRequest(group_id="g", generation_id=8)
    assert one != "g"
    assert repr(one) == (
        "HeartbeatRequest(group_id='g', generation_id=7, member_id='', group_instance_id=None)"
    )
    assert copy.copy(one) == one
    nested = OffsetCommitRequest(
        topics=[OffsetCommitRequestTopic(partitions=[OffsetCommitRequestPartition()])]
    )
    assert copy.deepcopy(nested) == nested


def test_a_structure_that_was_not_given_is_shared_and_cannot_be_changed():
    request = FetchRequest()
    assert request.replica_state is shared_default(ReplicaState)
    assert isinstance(request.replica_state, ReplicaState)
    with pytest.raises(AttributeError, match="assign a new one"):
        request.replica_state.replica_id = 1
    request.replica_state = ReplicaState(replica_id=1)
    assert FetchRequest().replica_state.replica_id == -1
    assert copy.deepcopy(FetchRequest()) == FetchRequest()


def test_a_declaration_of_ones_own():
    @struct
    class Part:
        name: str = at(STRING)

    @message(versions=(0, 1))
    class Own:
        id: uuid.UUID | None = at(Part, nullable=True, default=None)

        def greet(self) -> str:
            return f"hello {self.id}"

    assert Own().greet() == "hello None"
    assert schema_of(Own).versions == (0, 1)
    with pytest.raises(UnsupportedVersion, match="Part is part of a message"):
        codec.encode(Part(), 0)


def test_the_codec_loads_no_messages():
    script = (
        "import sys, ottla.protocol.kafka.codec, ottla.protocol.kafka.headers\n"
        "loaded = [m for m in sys.modules if m.startswith('ottla.protocol.kafka.messages.')]\n"
        "assert loaded == ['ottla.protocol.kafka.messages.registry'], loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_the_header_is_declared_too():
    assert schema_of(RequestHeader).versions == (0, 2)


def test_error_codes_and_retriability_are_those_of_kio():
    from kio.schema.errors import ErrorCode as Theirs

    known = {code.name.upper(): code for code in Theirs}
    ours = [code for code in ErrorCode if code.name in known]
    assert len(ours) == len(ErrorCode)
    for code in ours:
        assert (code.value, code.retriable) == (known[code.name].value, known[code.name].retriable)
