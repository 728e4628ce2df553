"""Questions that are answered and forgotten: AuthenticationReview and AuthorizationReview.

For the aggregated server. In: JSON of projectcalico.org/v3. Out: immutable structs; both kinds are of the Enterprise
edition (spec/resources.md 1.4, spec/apiserver-controllers-clis.md 1.8).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta


class AuthenticationReviewSpec(ApiStruct, frozen=True, kw_only=True):
    """There is nothing to say."""


class AuthenticationReviewStatus(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the caller.")] = ""
    uid: Annotated[str, doc("UID of the caller.")] = ""
    groups: Annotated[tuple[str, ...], doc("Groups of the caller.")] = ()
    extra: Annotated[dict[str, tuple[str, ...]], doc("What else is known of the caller.")] = empty_map()


class AuthenticationReview(Object, frozen=True, kw_only=True):
    """Asks who the caller is."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("AuthenticationReview")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[AuthenticationReviewSpec, doc("Nothing.")] = AuthenticationReviewSpec()
    status: Annotated[AuthenticationReviewStatus | None, doc("Who the caller is.")] = None


class ReviewedResources(ApiStruct, frozen=True, kw_only=True):
    api_group: Annotated[str, doc("Group of the resources.")] = ""
    resources: Annotated[tuple[str, ...], doc("Plurals of the resources.")] = ()
    verbs: Annotated[tuple[str, ...], doc("Verbs that are asked about.")] = ()


class AuthorizationReviewSpec(ApiStruct, frozen=True, kw_only=True):
    resource_attributes: Annotated[tuple[ReviewedResources, ...], doc("What is asked about.")] = ()
    user: Annotated[str, doc("Who is asked about; the caller if absent.")] = ""
    groups: Annotated[tuple[str, ...], doc("Groups of the user; none if absent.")] = ()
    extra: Annotated[dict[str, tuple[str, ...]], doc("What else is known of the user.")] = empty_map()
    uid: Annotated[str, doc("UID of the user.")] = ""


class AuthorizedResourceGroup(ApiStruct, frozen=True, kw_only=True):
    tier: Annotated[str, doc("Tier that the right is for.")] = ""
    namespace: Annotated[str, doc("Namespace that the right is for; the whole cluster if empty.")] = ""
    ui_settings_group: Annotated[str, doc("Group of console settings that the right is for.")] = ""
    managed_cluster: Annotated[str, doc("Managed cluster that the right is for.")] = ""


class AuthorizedVerb(ApiStruct, frozen=True, kw_only=True):
    verb: Annotated[str, doc("The verb.")] = ""
    resource_groups: Annotated[tuple[AuthorizedResourceGroup, ...], doc("Where it is allowed; nowhere if absent.")] = ()


class AuthorizedResourceVerbs(ApiStruct, frozen=True, kw_only=True):
    api_group: Annotated[str, doc("Group of the resource.")] = ""
    resource: Annotated[str, doc("Plural of the resource.")] = ""
    verbs: Annotated[tuple[AuthorizedVerb, ...], doc("What is allowed.")] = ()


class AuthorizationReviewStatus(ApiStruct, frozen=True, kw_only=True):
    authorized_resource_verbs: Annotated[
        tuple[AuthorizedResourceVerbs, ...], doc("The answer; each group and resource once.")
    ] = ()


class AuthorizationReview(Object, frozen=True, kw_only=True):
    """Asks what the caller, or another user, may do."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("AuthorizationReview")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[AuthorizationReviewSpec, doc("The question.")] = AuthorizationReviewSpec()
    status: Annotated[AuthorizationReviewStatus | None, doc("The answer.")] = None
