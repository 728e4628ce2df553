"""The admission webhooks of native mode on real clusters: what CustomResourceDefinitions cannot enforce.

`server` answers AdmissionReviews, `rules` decides them, `command` is the process. The embedded API server enforces the
same itself (spec/apiserver-controllers-clis.md 1.10).
"""
