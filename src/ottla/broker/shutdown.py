"""Controlled shutdown: the controller moves leaders away before this broker stops (KIP-49)."""

from collections.abc import Callable

import trio

from ottla.broker.ids import BrokerEpoch, BrokerId
from ottla.broker.link import BrokerLink
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)
from ottla.runtime.interfaces import Events

VERSION = 3
REQUEST_TIMEOUT_S = 10.0


async def hand_over(
    broker_id: BrokerId,
    broker_epoch: Callable[[], BrokerEpoch],
    controller_link: Callable[[], BrokerLink | None],
    *,
    attempts: int,
    backoff_s: float,
    is_alone: Callable[[], bool],
    events: Events,
) -> bool:
    """True once this broker leads nothing that another could lead.

    False after `attempts` without success, as when there is no controller: the stop then goes on
    and the controller finds out by the session's end. A broker that `is_alone` asks only once.
    """
    reason = "no controller is known"
    for attempt in range(attempts):
        if attempt and is_alone():
            break
        if attempt:
            await trio.sleep(backoff_s)
        link = controller_link()
        if link is None:
            continue
        try:
            response = await link.request(
                ControlledShutdownRequest(broker_id=broker_id, broker_epoch=broker_epoch()),
                version=VERSION,
                timeout_s=REQUEST_TIMEOUT_S,
            )
        except OSError as error:
            reason = str(error)
            continue
        assert isinstance(response, ControlledShutdownResponse)
        if response.error_code == ErrorCode.NONE and not response.remaining_partitions:
            events.info("broker.handed_over", broker=broker_id)
            return True
        reason = (
            f"{len(response.remaining_partitions)} partitions have no other leader"
            if response.error_code == ErrorCode.NONE
            else ErrorCode(response.error_code).name
        )
    events.warning("broker.not_handed_over", broker=broker_id, reason=reason)
    return False
