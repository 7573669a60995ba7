"""Mixpanel as a destination."""

from gateway.delivery.mixpanel.client import MixpanelEndpoint, project_of

__all__ = ["MixpanelEndpoint", "project_of"]
