"""The processes between the kubelet and a container; they start in milliseconds and stay small."""
