"""Mixpanel as a destination."""

from gateway.delivery.mixpanel.client import MixpanelEndpoint, project_of
from gateway.delivery.mixpanel.request import ENDPOINTS

__all__ = ["ENDPOINTS", "MixpanelEndpoint", "project_of"]
