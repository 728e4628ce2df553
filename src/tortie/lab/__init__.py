"""A whole cluster on one machine: for trying, teaching, testing and policy CI; not where production runs."""
