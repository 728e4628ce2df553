"""What happens to a v3 object when it is written: pruned, completed with defaults, and checked.

For the API server and for tools that check manifests. In: one object as plain JSON, and the stored one on an update.
Out: the object to store, field errors in Kubernetes' notation, and the fields that were not known. Checks that need
other objects are in `cross_check` and `check_delete`.
"""

import contextlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from tortie.model.admission import (
    addresses,
    alerts,
    bgp,
    cluster_policy,
    configuration,
    derived,
    enterprise,
    normalise,
    policies,
)
from tortie.model.admission.cross import check_delete, cross_check
from tortie.model.admission.naming import check_metadata
from tortie.model.admission.problems import Problems
from tortie.model.admission.server import Lister, server_fields
from tortie.model.facts import STORAGE_FIELDS
from tortie.model.resource import Resource
from tortie.model.schema import Schema, openapi_schema
from tortie.model.serving import ServingMode
from tortie.model.structural import Check, ErrorType, FieldError, apply

__all__ = [
    "Admission",
    "ErrorType",
    "FieldError",
    "Lister",
    "ServingMode",
    "admit",
    "check_delete",
    "cross_check",
    "server_fields",
]

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Admission:
    """object: what to store if there are no errors. unknown_fields: paths of what was left out of it."""

    object: Object
    errors: list[FieldError]
    unknown_fields: list[str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is special about one kind. normalise: the spec with its scalars in one form, in aggregated mode alone.
    before, defaults: change JSON in place; before for defaults that come before those of the schema, defaults for the
    others. keep: fields of the spec that the server made and that an update need not repeat. check and update see
    structs."""

    normalise: Callable[[Object], Object] | None = None
    before: Callable[[Object], None] | None = None
    defaults: Callable[[Object, ServingMode], None] | None = None
    keep: tuple[str, ...] = ()
    check: Callable[[Any, Problems], None] | None = None
    update: Callable[[Any, Any, Problems], None] | None = None


_POLICY = _Kind(
    normalise=normalise.ports,
    defaults=policies.default_policy,
    check=policies.check_policy,
)
_SET = _Kind(check=addresses.check_network_set)

_KINDS: dict[str, _Kind] = {
    "tiers": _Kind(before=policies.default_built_in_tier, defaults=policies.default_tier, check=policies.check_tier),
    "networkpolicies": _POLICY,
    "globalnetworkpolicies": _POLICY,
    "stagednetworkpolicies": _POLICY,
    "stagedglobalnetworkpolicies": _POLICY,
    "clusternetworkpolicies": _Kind(check=cluster_policy.check_cluster_network_policy),
    "stagedkubernetesnetworkpolicies": _Kind(
        defaults=policies.default_staged_kubernetes_policy,
        check=policies.check_staged_kubernetes_policy,
    ),
    "networksets": _SET,
    "globalnetworksets": _SET,
    "hostendpoints": _Kind(check=addresses.check_host_endpoint),
    "ippools": _Kind(
        defaults=addresses.default_ip_pool, check=addresses.check_ip_pool, update=addresses.check_ip_pool_update
    ),
    "ipamconfigurations": _Kind(check=addresses.check_ipam_configuration),
    "bgpconfigurations": _Kind(normalise=normalise.as_numbers, check=bgp.check_bgp_configuration),
    "bgppeers": _Kind(normalise=normalise.as_numbers, check=bgp.check_bgp_peer),
    "bgpfilters": _Kind(normalise=normalise.as_numbers, check=bgp.check_bgp_filter),
    "felixconfigurations": _Kind(
        defaults=configuration.default_felix_configuration, check=configuration.check_felix_configuration
    ),
    "profiles": _Kind(normalise=normalise.ports, check=derived.check_profile),
    "workloadendpoints": _Kind(check=derived.check_workload_endpoint),
    "nodes": _Kind(normalise=normalise.node, check=derived.check_node),
    "earlynetworkconfigurations": _Kind(normalise=normalise.early_nodes, check=derived.check_early_network),
    "blockaffinities": _Kind(check=addresses.check_block_affinity),
    "caliconodestatuses": _Kind(check=addresses.check_node_status),
    "clusterinformations": _Kind(defaults=configuration.default_cluster_information),
    "kubecontrollersconfigurations": _Kind(
        defaults=configuration.default_kube_controllers_configuration,
        check=configuration.check_kube_controllers_configuration,
    ),
    "alertexceptions": _Kind(check=alerts.check_alert_exception),
    "bfdconfigurations": _Kind(check=enterprise.check_bfd_configuration),
    "deeppacketinspections": _Kind(check=enterprise.check_deep_packet_inspection),
    "egressgatewaypolicies": _Kind(check=enterprise.check_egress_gateway_policy),
    "globalalerts": _Kind(check=alerts.check_alert),
    "globalalerttemplates": _Kind(check=alerts.check_alert),
    "globalreports": _Kind(check=alerts.check_report),
    "globalreporttypes": _Kind(check=alerts.check_report_type),
    "globalthreatfeeds": _Kind(check=alerts.check_threat_feed),
    "licensekeys": _Kind(check=enterprise.check_license_key),
    "managedclusters": _Kind(check=enterprise.check_managed_cluster, update=enterprise.check_managed_cluster_update),
    "networks": _Kind(check=enterprise.check_network, update=enterprise.check_network_update),
    "packetcaptures": _Kind(check=enterprise.check_packet_capture),
    "policyrecommendationscopes": _Kind(check=enterprise.check_recommendation_scope),
    "remoteclusterconfigurations": _Kind(check=enterprise.check_remote_cluster),
    "securityeventwebhooks": _Kind(before=alerts.default_webhook, check=alerts.check_webhook),
    "uisettings": _Kind(keep=("user",), check=enterprise.check_ui_settings, update=enterprise.check_ui_settings_update),
    "uisettingsgroups": _Kind(check=enterprise.check_ui_settings_group),
    "globalwafplugins": _Kind(check=enterprise.check_waf_plugin),
    "wafplugins": _Kind(check=enterprise.check_waf_plugin),
    "globalwafpolicies": _Kind(check=enterprise.check_waf_policy),
    "wafpolicies": _Kind(check=enterprise.check_waf_policy),
}
_NOTHING_SPECIAL = _Kind()


def admit(
    resource: Resource[Any], obj: Object, old: Object | None, *, mode: ServingMode = ServingMode.NATIVE
) -> Admission:
    """The object as it will be stored, and what is wrong with it. The arguments are not changed.

    old: the stored object on an update, None on a create. mode: which API server asks.
    """
    kind = _KINDS.get(resource.plural, _NOTHING_SPECIAL)
    problems = Problems(mode)
    obj = {"apiVersion": "", "kind": "", **obj} | {"apiVersion": resource.api_version, "kind": resource.kind}
    spec = {} if obj.get("spec") is None else obj["spec"]
    readable = isinstance(spec, dict)
    if readable:
        stored = (old or {}).get("spec") or {}
        spec = {**{field: stored[field] for field in kind.keep if field in stored}, **spec}
    obj["spec"] = spec
    if isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {name: value for name, value in obj["metadata"].items() if value is not None}
    if old is None:
        check_metadata(resource.plural, obj.get("metadata"), problems)
    else:
        _check_labels(obj.get("metadata"), resource, problems)
    if readable and kind.normalise is not None and mode is ServingMode.AGGREGATED:
        obj["spec"] = kind.normalise(obj["spec"])
    if readable and kind.before is not None:
        kind.before(obj)
    check = Check()
    pruned: Object = apply(_schema(resource, mode), obj, "", check)
    errors = [*problems.errors, *check.errors]
    if check.unfit:
        return Admission(pruned, errors, check.unknown)
    if kind.defaults is not None:
        kind.defaults(pruned, mode)
    try:
        new = msgspec.convert(pruned, resource.type)
    except msgspec.ValidationError as error:
        return Admission(pruned, [*errors, _decoding_error(error)], check.unknown)
    problems = Problems(mode)
    if kind.check is not None:
        kind.check(new, problems)
    if kind.update is not None and old is not None:
        # An object that another version stored and that cannot be read any more does not forbid its repair.
        with contextlib.suppress(msgspec.ValidationError):
            kind.update(msgspec.convert(old, resource.type), new, problems)
    # The schema and the checks may find fault with the same value; the schema's words stand.
    named = {error.path for error in errors}
    errors += [error for error in problems.errors if error.path not in named]
    return Admission(pruned, errors, check.unknown)


@cache
def _schema(resource: Resource[Any], mode: ServingMode) -> Schema:
    """The schema of the kind; in aggregated mode with the limits of the store behind it, where those differ."""
    schema = openapi_schema(resource)
    fields = STORAGE_FIELDS.get(resource.plural, {}) if mode is ServingMode.AGGREGATED else {}
    if not fields:
        return schema
    schema = deepcopy(schema)
    for path, field in fields.items():
        place = schema
        for name in path.split("."):
            place = place["properties"][name]
        # A field of another type is converted when it is stored, and has its own type before.
        if place["type"] == field["type"]:
            place.update(field)
    return schema


def _check_labels(metadata: Any, resource: Resource[Any], problems: Problems) -> None:
    """On an update the name is given by the stored object; only what can change is checked."""
    if isinstance(metadata, dict):
        check_metadata(resource.plural, {**metadata, "name": "", "generateName": "unchanged"}, problems)


def _decoding_error(error: msgspec.ValidationError) -> FieldError:
    """msgspec ends its messages with a path such as `$.metadata.labels[...]`."""
    message, _, path = str(error).partition(" - at `$.")
    return FieldError(path.rstrip("`"), None, message, "TypeInvalid")
