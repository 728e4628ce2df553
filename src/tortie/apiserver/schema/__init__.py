"""Structural schemas: one tree of nodes that pruning, validation, defaulting, merging and OpenAPI share."""
