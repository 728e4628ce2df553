"""Defaults and checks of pod specs, for pods and for the templates of workloads.

In: a pod spec's tree. Out: the tree with Kubernetes' defaults filled in, and causes for a 422. Pure.
"""

import re
from collections.abc import Iterable
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause
from tortie.apiserver.objects import name_problem, validate_labels

Object = dict[str, Any]
_PORT_NAME = re.compile(r"^(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
_ENV_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
_QUANTITY = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)(([eE][+-]?\d+)|[numkMGTPE]|[KMGTPE]i)?$")
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def containers(spec: Object, *lists: str) -> Iterable[tuple[str, Object]]:
    """(path, container) of every container in the named lists (all three by default)."""
    for name in lists or _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(name) or ()):
            yield f"{name}[{index}]", container


def default_spec(spec: Object) -> None:
    """Fills a pod spec as the API does for pods and templates alike."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for _, container in containers(spec):
        _default_container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Object, *, host_network: bool) -> None:
    image = str(container.get("image", ""))
    if not container.get("imagePullPolicy"):
        tag = image.rpartition("/")[2].partition("@")
        latest = not tag[2] and (":" not in tag[0] or tag[0].endswith(":latest"))
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network:
            port.setdefault("hostPort", port.get("containerPort"))
    for probe_name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(probe_name)
        if isinstance(probe, dict):
            probe.setdefault("timeoutSeconds", 1)
            probe.setdefault("periodSeconds", 10)
            probe.setdefault("successThreshold", 1)
            probe.setdefault("failureThreshold", 3)
            _default_http(probe.get("httpGet"))
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _default_http(handler.get("httpGet"))
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _default_http(get: Any) -> None:
    if isinstance(get, dict):
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _default_volume(volume: Object) -> None:
    sources = [k for k in volume if k != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for name in ("configMap", "secret", "downwardAPI", "projected"):
        source = volume.get(name)
        if isinstance(source, dict):
            source.setdefault("defaultMode", 420)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    items = list((volume.get("downwardAPI") or {}).get("items") or ())
    for source in (volume.get("projected") or {}).get("sources") or ():
        token = source.get("serviceAccountToken")
        if isinstance(token, dict):
            token.setdefault("expirationSeconds", 3600)
        items += (source.get("downwardAPI") or {}).get("items") or ()
    for item in items:
        if isinstance(item.get("fieldRef"), dict):
            item["fieldRef"].setdefault("apiVersion", "v1")


def validate_spec(spec: Object, path: str, *, template: bool = False) -> list[Cause]:
    """Causes for what is wrong in a pod spec."""
    causes: list[Cause] = []
    if not spec.get("containers"):
        causes.append(errors.required(f"{path}.containers"))
    names: set[str] = set()
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    for place, container in containers(spec):
        at = f"{path}.{place}"
        causes += _validate_container(container, at, volumes)
        name = container.get("name", "")
        if name and name in names:
            causes.append(errors.duplicate(f"{at}.name", name))
        names.add(name)
    if spec.get("restartPolicy") not in {"Always", "OnFailure", "Never"}:
        causes.append(
            errors.not_supported(f"{path}.restartPolicy", spec.get("restartPolicy"), ["Always", "Never", "OnFailure"])
        )
    if spec.get("dnsPolicy") not in {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}:
        causes.append(
            errors.not_supported(
                f"{path}.dnsPolicy",
                spec.get("dnsPolicy"),
                ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
            )
        )
    if int(spec.get("terminationGracePeriodSeconds", 30)) < 0:
        causes.append(
            errors.invalid_value(
                f"{path}.terminationGracePeriodSeconds",
                spec["terminationGracePeriodSeconds"],
                "must be greater than or equal to 0",
            )
        )
    for field in ("hostname", "subdomain"):
        if spec.get(field) and name_problem(spec[field], "label"):
            causes.append(errors.invalid_value(f"{path}.{field}", spec[field], name_problem(spec[field], "label")))
    causes += _validate_volumes(spec, path)
    causes += validate_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    return causes


def _validate_volumes(spec: Object, path: str) -> list[Cause]:
    causes = []
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        at = f"{path}.volumes[{index}]"
        name = volume.get("name", "")
        if not name:
            causes.append(errors.required(f"{at}.name"))
        elif name_problem(name, "label"):
            causes.append(errors.invalid_value(f"{at}.name", name, name_problem(name, "label")))
        if name in seen:
            causes.append(errors.duplicate(f"{at}.name", name))
        seen.add(name)
        sources = [k for k in volume if k != "name"]
        if len(sources) > 1:
            causes.append(
                errors.forbidden_field(f"{at}.{sorted(sources)[1]}", "may not specify more than 1 volume type")
            )
    return causes


def _validate_container(container: Object, at: str, volumes: set[Any]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    if not name:
        causes.append(errors.required(f"{at}.name"))
    elif name_problem(name, "label"):
        causes.append(errors.invalid_value(f"{at}.name", name, name_problem(name, "label")))
    image = container.get("image", "")
    if not image:
        causes.append(errors.required(f"{at}.image"))
    elif image != image.strip():
        causes.append(errors.invalid_value(f"{at}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in {"Always", "IfNotPresent", "Never"}:
        causes.append(
            errors.not_supported(
                f"{at}.imagePullPolicy", container.get("imagePullPolicy"), ["Always", "IfNotPresent", "Never"]
            )
        )
    causes += _validate_ports(container.get("ports") or (), at)
    for index, variable in enumerate(container.get("env") or ()):
        key = variable.get("name", "")
        if not key:
            causes.append(errors.required(f"{at}.env[{index}].name"))
        elif not _ENV_NAME.match(key):
            causes.append(
                errors.invalid_value(
                    f"{at}.env[{index}].name",
                    key,
                    "a valid environment variable name must consist only of printable ASCII characters other than '='",
                )
            )
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        place = f"{at}.volumeMounts[{index}]"
        if not mount.get("mountPath"):
            causes.append(errors.required(f"{place}.mountPath"))
        if mount.get("name") not in volumes:
            causes.append(Cause("FieldValueNotFound", f"{place}.name", f'Not found: "{mount.get("name")}"'))
    causes += _validate_resources(container.get("resources") or {}, f"{at}.resources")
    return causes


def _validate_ports(ports: Iterable[Object], at: str) -> list[Cause]:
    causes = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        place = f"{at}.ports[{index}]"
        number = port.get("containerPort")
        if number is None:
            causes.append(errors.required(f"{place}.containerPort"))
        elif not 1 <= number <= 65535:
            causes.append(
                errors.invalid_value(f"{place}.containerPort", number, "must be between 1 and 65535, inclusive")
            )
        name = port.get("name")
        if name:
            if not _PORT_NAME.match(name) or "--" in name or len(name) > 15:
                causes.append(
                    errors.invalid_value(
                        f"{place}.name",
                        name,
                        "must be no more than 15 characters, of a-z, 0-9 and single '-', with at least one letter",
                    )
                )
            if name in names:
                causes.append(errors.duplicate(f"{place}.name", name))
            names.add(name)
        if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
            causes.append(errors.not_supported(f"{place}.protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
    return causes


def _validate_resources(resources: Object, at: str) -> list[Cause]:
    causes = []
    for group in ("limits", "requests"):
        for key, value in (resources.get(group) or {}).items():
            if not _QUANTITY.match(str(value)):
                causes.append(
                    errors.invalid_value(
                        f"{at}.{group}[{key}]",
                        value,
                        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    )
                )
    return causes


def qos(spec: Object) -> str:
    """The quality-of-service class that a pod's resources give it."""
    requests_limits = []
    for _, container in containers(spec, "initContainers", "containers"):
        resources = container.get("resources") or {}
        requests_limits.append((resources.get("requests") or {}, resources.get("limits") or {}))
    wanted = ("cpu", "memory")
    if not any(r.get(k) or v.get(k) for r, v in requests_limits for k in wanted):
        return "BestEffort"
    if all(v.get(k) and r.get(k, v.get(k)) == v.get(k) for r, v in requests_limits for k in wanted):
        return "Guaranteed"
    return "Burstable"
