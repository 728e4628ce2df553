"""Certificates on request: what the cluster's own signers accept, what they issue, and when old requests go."""
