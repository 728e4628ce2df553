"""Credentials from exec plugins and OIDC providers, by way of kubernetes_asyncio's loader.

In: a kubeconfig whose user has `exec` or `auth-provider`. Out: the Authorization header for the client. The loader is
heavy to import, so only the client imports this module, when it meets such a user.
"""

import time

from kubernetes_asyncio import config as loader
from kubernetes_asyncio.client import Configuration

from tortie.kube.config import ClusterConfig, ConfigError


class PluginTokens:
    """Asks the plugin for a token at first use, after `max_age` seconds, and after `forget`."""

    def __init__(self, config: ClusterConfig, *, max_age: float = 300.0) -> None:
        self._config = config
        self._max_age = max_age
        self._header: str | None = None
        self._read_at = float("-inf")

    async def authorization(self) -> str | None:
        """The Authorization header's value. Raises ConfigError when the plugin fails."""
        now = time.monotonic()
        if self._header is None or now - self._read_at > self._max_age:
            settings = Configuration()
            try:
                await loader.load_kube_config(
                    config_file=self._config.source, context=self._config.context, client_configuration=settings
                )
            except Exception as error:
                raise ConfigError(f"{self._config.source}: credential plugin failed: {error}") from error
            self._header = settings.get_api_key_with_prefix("BearerToken")
            self._read_at = now
        return self._header

    def forget(self) -> None:
        """The token was refused: ask again."""
        self._header = None
