"""The lab's few controllers: without them nothing real can be deployed.

(Being written: `world`, `scheduler`, `replicas` (Deployment, ReplicaSet), `endpoints` (EndpointSlice), `accounts`
(ServiceAccount, root CA), `namespaces`, `garbage` are here. DaemonSet, StatefulSet, Job, CronJob and node lifecycle are
still to come: add them as modules of the same shape and register them in `command`.)
"""
