"""Which destination a request of Mixpanel's own SDKs belongs to."""

import hmac
from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import BasicAuth

from gateway.config import DestinationConfig, by_token

__all__ = ["Projects"]


class _Credentials(NamedTuple):
    """What stands for a destination as ``user:password``."""

    text: bytes
    project_id: str | None
    destination: DestinationConfig


class Projects:
    """The destinations that take what Mixpanel's own SDKs send, by what these know of them."""

    def __init__(self, destinations: Sequence[DestinationConfig]) -> None:
        open_ones = [each for each in destinations if each.mixpanel_sdks.enabled]
        self._credentials = [each for one in open_ones for each in _credentials(one)]
        self._keys = [each for one in open_ones for each in _keys(one)]
        self._by_token = by_token(destinations)

    def of_token(self, token: str) -> DestinationConfig | None:
        """Return the destination of a project token, which is no secret."""
        return self._by_token.get(token)

    def of_credentials(
        self, authorization: str | None, project_id: str | None
    ) -> DestinationConfig | None:
        """Return the destination whose Basic credentials these are, as Mixpanel would take them.

        The time it takes does not tell how much of a guess was right.

        :param authorization: the header.
        :param project_id: that a service account comes with.
        """
        try:
            given = BasicAuth.decode(authorization or "", encoding="utf-8")
        except ValueError:
            return None
        return _find(self._credentials, f"{given.login}:{given.password}", project_id)

    def of_api_key(self, key: str) -> DestinationConfig | None:
        """Return the destination of what programs sent to /import before it had credentials.

        As for ``of_credentials``.

        :param key: the project's former API key, where the configuration has it; its secret and
            its token count as well.
        """
        return _find(self._keys, key, None)


def _find(
    known: Sequence[_Credentials], given: str, project_id: str | None
) -> DestinationConfig | None:
    text = given.encode("utf-8", "replace")
    found: DestinationConfig | None = None
    for each in known:
        is_same = hmac.compare_digest(each.text, text)
        if is_same and found is None and each.project_id in (None, project_id):
            found = each.destination
    return found


def _keys(destination: DestinationConfig) -> list[_Credentials]:
    settings, secrets = destination.settings, [destination.mixpanel_sdks.api_key]
    secrets.append(settings.apiSecret)
    keys = [settings.projectToken, *(each.reveal() for each in secrets if each is not None)]
    return [_Credentials(key.encode(), None, destination) for key in keys]


def _credentials(destination: DestinationConfig) -> list[_Credentials]:
    settings = destination.settings
    accepted = [_Credentials(f"{settings.projectToken}:".encode(), None, destination)]
    if settings.apiSecret is not None:
        text = f"{settings.apiSecret.reveal()}:".encode()
        accepted.append(_Credentials(text, None, destination))
    account = settings.serviceAccount
    if account is not None:
        text = f"{account.username}:{account.secret.reveal()}".encode()
        accepted.append(_Credentials(text, account.projectId, destination))
    return accepted
