"""The configuration: one frozen value, read once from a file or from the environment.

``schema`` has its keys, ``values`` what a key accepts, ``kinds`` what can be said of both,
``reader`` reads any such schema, ``variables`` names the environment's variables, ``load`` brings
them together and looks for contradictions, ``advice`` tells what is allowed but unwise.
``reference`` and ``json_schema`` tell people and editors what there is.
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
    MixpanelSdksConfig,
    ProxyConfig,
    ServerConfig,
    ServiceAccount,
    SharedDeliveryConfig,
    SourceConfig,
    SpoolConfig,
    SqliteSpoolConfig,
    SubscriptionConfig,
    by_token,
)
from gateway.config.values import TIMES, IpPolicy, ProxyHeader, Region, Secret

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
    "SqliteSpoolConfig",
    "SubscriptionConfig",
    "by_token",
    "load",
    "redacted",
    "warnings",
]
