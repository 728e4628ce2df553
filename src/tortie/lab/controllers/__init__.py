"""The lab's few controllers: without them nothing real can be deployed.

One module for each: `scheduler`; `deployments` and `replicas`; `daemons`, `stateful`, `jobs`, `cron`; `endpoints`;
`accounts`, `namespaces`, `nodes`, `garbage`. Beneath them `world` (caches, queues) and `pods` (whose pods, how many);
beside them pure parts: `rollout`, `fitting`, `affinity`, `placement`, `tracking`. `command` runs them all.
"""
