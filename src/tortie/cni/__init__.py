"""The CNI plugins `calico` and `calico-ipam`, and the node agent that does their work."""
