"""Blocks of producer ids from the controller: AllocateProducerIds, KIP-730."""

from collections.abc import Callable

import trio

from ottla.broker.errors import GroupHomeNotAvailable
from ottla.broker.ids import BrokerEpoch, BrokerId
from ottla.broker.link import BrokerLink
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)

VERSION = 0
TIMEOUT_S = 5.0
RETRY_S = 0.1
ATTEMPTS = 20


class ProducerIdBlocks:
    """Asks the controller, and again while there is none or it has just changed."""

    def __init__(
        self,
        broker_id: BrokerId,
        broker_epoch: Callable[[], BrokerEpoch],
        controller_link: Callable[[], BrokerLink | None],
    ) -> None:
        self._broker_id = broker_id
        self._broker_epoch = broker_epoch
        self._controller_link = controller_link

    async def next_block(self) -> tuple[int, int]:
        """(first id, how many). GroupHomeNotAvailable, which clients retry, when there is none."""
        reason = "no controller is known"
        for _ in range(ATTEMPTS):
            link = self._controller_link()
            if link is not None:
                try:
                    answer = await link.request(
                        AllocateProducerIdsRequest(
                            broker_id=self._broker_id, broker_epoch=self._broker_epoch()
                        ),
                        version=VERSION,
                        timeout_s=TIMEOUT_S,
                    )
                except OSError as error:
                    reason = str(error)
                else:
                    assert isinstance(answer, AllocateProducerIdsResponse)
                    if answer.error_code == ErrorCode.NONE:
                        return answer.producer_id_start, answer.producer_id_len
                    reason = ErrorCode(answer.error_code).name
            await trio.sleep(RETRY_S)
        raise GroupHomeNotAvailable(f"no producer ids from the controller: {reason}")
