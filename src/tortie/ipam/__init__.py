"""Address management: blocks of addresses that nodes own, and the addresses in them that pods hold."""
