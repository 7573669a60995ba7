"""A durable, drop-in gateway between analytics SDKs and Mixpanel."""

__all__ = ["__version__"]

__version__ = "0.2.0"
