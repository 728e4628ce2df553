"""Namespaces, service accounts and Profiles as the dataplane's profiles (spec/resources.md 4.1).

For the syncer. In: API objects. Out: updates with what the pods of a namespace or service account inherit.
"""

from tortie.model.convert.rules import convert_rules
from tortie.model.convert.scopes import NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX
from tortie.model.dataplane import Profile, ProfileKey, Rule, Update
from tortie.model.k8s import Namespace, ServiceAccount
from tortie.model.names import namespace_profile, service_account_profile
from tortie.model.v3.endpoints import Profile as ApiProfile

NAME_LABEL = "projectcalico.org/name"
DEFAULT_ALLOW = "projectcalico-default-allow"

_ALLOW = (Rule(action="allow"),)


def namespace_to_profile(namespace: Namespace) -> Update:
    """`kns.<namespace>`: its labels under `pcns.`, and Allow in both directions for what no policy decides."""
    name = namespace.metadata.name
    labels = {NAMESPACE_PREFIX + key: value for key, value in namespace.metadata.labels.items()}
    labels[NAMESPACE_PREFIX + NAME_LABEL] = name
    return Update(ProfileKey(namespace_profile(name)), Profile(ingress=_ALLOW, egress=_ALLOW, labels=labels))


def service_account_to_profile(account: ServiceAccount) -> Update:
    """`ksa.<namespace>.<name>`: its labels under `pcsa.`, and no rules."""
    name = account.metadata.name
    labels = {SERVICE_ACCOUNT_PREFIX + key: value for key, value in account.metadata.labels.items()}
    labels[SERVICE_ACCOUNT_PREFIX + NAME_LABEL] = name
    return Update(ProfileKey(service_account_profile(account.metadata.namespace, name)), Profile(labels=labels))


def default_allow_profile() -> Update:
    """The built-in profile that allows everything; automatic host endpoints name it."""
    return Update(ProfileKey(DEFAULT_ALLOW), Profile(ingress=_ALLOW, egress=_ALLOW))


def profile(profile: ApiProfile) -> Update:
    """A Profile as the API shows it."""
    ingress, ingress_errors = convert_rules(profile.spec.ingress, direction="ingress", namespace="")
    egress, egress_errors = convert_rules(profile.spec.egress, direction="egress", namespace="")
    value = Profile(ingress=ingress, egress=egress, labels=dict(profile.spec.labels_to_apply))
    return Update(ProfileKey(profile.metadata.name), value, (*ingress_errors, *egress_errors))
