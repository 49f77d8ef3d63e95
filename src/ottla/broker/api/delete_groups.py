"""DeleteGroups: remove empty groups and their offsets."""

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.groups.reply import Reply
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)


def handle(request: DeleteGroupsRequest, ctx: RequestContext) -> DeleteGroupsResponse | Parked:
    groups = ctx.services.groups
    deleting = _Deleting({group_id: groups.delete(group_id) for group_id in request.groups_names})
    return deleting.response() if deleting.is_ready() else deleting


class _Deleting:
    """The outcomes of all groups of one request."""

    __slots__ = ("_replies",)

    def __init__(self, replies: dict[str, Reply[ErrorCode]]) -> None:
        self._replies = replies

    def is_ready(self) -> bool:
        return all(reply.is_ready() for reply in self._replies.values())

    async def wait(self) -> DeleteGroupsResponse:
        for reply in self._replies.values():
            await reply.get()
        return self.response()

    def response(self) -> DeleteGroupsResponse:
        return DeleteGroupsResponse(
            results=[
                DeletableGroupResult(group_id=group_id, error_code=reply.get_nowait())
                for group_id, reply in self._replies.items()
            ]
        )


def failed(
    request: DeleteGroupsRequest, code: ErrorCode, _message: str | None
) -> DeleteGroupsResponse:
    """`code` for every group."""
    return DeleteGroupsResponse(
        results=[
            DeletableGroupResult(group_id=group_id, error_code=code)
            for group_id in request.groups_names
        ]
    )


API = Api(
    key=ApiKey.DELETE_GROUPS,
    versions=(0, 2),
    request_type=DeleteGroupsRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "failed", "handle"]
