"""The aggregated API server for projectcalico.org/v3: any Kubernetes API server keeps its objects.

`command` reads the flags, `server` puts the parts together, `kinds` says what is served and under which rules,
`backend` keeps objects in crd.projectcalico.org/v1 through `kube.Client`; who asks and what they may do is decided by
the API server behind (`trust`, `authn`, `authz`).
"""
