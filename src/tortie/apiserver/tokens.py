"""Service account tokens."""

from tortie.apiserver import errors
from tortie.apiserver.context import Context, User


class Tokens:
    def __init__(self, context: Context) -> None:
        self.context = context

    async def authenticate(self, token: str) -> User:
        raise errors.unauthorized()
