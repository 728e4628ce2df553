"""The lab's kubelet: pods of one node as isolated host processes behind the real CNI protocol."""
