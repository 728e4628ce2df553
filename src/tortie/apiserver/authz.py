"""What a user may do."""

from tortie.apiserver.context import Context, User
from tortie.apiserver.requests import RequestInfo


class Authorizer:
    def __init__(self, context: Context) -> None:
        self.context = context

    async def check(self, user: User, info: RequestInfo) -> None:
        return
