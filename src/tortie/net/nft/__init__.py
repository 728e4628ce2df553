"""nf_tables without the nft program: rules as data with a text and a kernel form, written in atomic transactions.

The dataplane renders `Rule`s, collects them in a `Transaction` and commits it through a `Connection`; errors come back
with the message they concern. libnftables is not used: with 200 chains and 200 sets one of its transactions costs 6 ms
since it lists the ruleset first, with 2,000 of each 55 ms, where the kernel itself needs a tenth of a millisecond.
"""
