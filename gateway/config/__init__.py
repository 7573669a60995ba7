"""The configuration: one frozen value, read once from a file or from the environment.

``schema`` has its keys, ``values`` what a key accepts, ``reader`` reads any such schema,
``variables`` names the environment's variables, ``load`` brings them together and looks for
contradictions, ``advice`` tells what is allowed but unwise.
"""

from gateway.config.advice import redacted, warnings
from gateway.config.load import VARIABLES, Check, load
from gateway.config.schema import (
    Action,
    AdminConfig,
    Config,
    DeliveryConfig,
    DestinationConfig,
    DestinationSettings,
    IpPolicy,
    MixpanelSdksConfig,
    ProxyConfig,
    ProxyHeader,
    Region,
    Secret,
    ServerConfig,
    ServiceAccount,
    SharedDeliveryConfig,
    SourceConfig,
    SpoolConfig,
    SubscriptionConfig,
    by_token,
)
from gateway.config.values import TIMES

__all__ = [
    "TIMES",
    "VARIABLES",
    "Action",
    "AdminConfig",
    "Check",
    "Config",
    "DeliveryConfig",
    "DestinationConfig",
    "DestinationSettings",
    "IpPolicy",
    "MixpanelSdksConfig",
    "ProxyConfig",
    "ProxyHeader",
    "Region",
    "Secret",
    "ServerConfig",
    "ServiceAccount",
    "SharedDeliveryConfig",
    "SourceConfig",
    "SpoolConfig",
    "SubscriptionConfig",
    "by_token",
    "load",
    "redacted",
    "warnings",
]
