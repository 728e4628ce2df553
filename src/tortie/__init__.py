"""Tortie: pod networking, network policy and observability for Kubernetes that explains itself."""

__version__ = "0.1.0"
