"""PolicyRecommendationScope: for what the system recommends policies, and how it learns them.

For admission and the recommendation component. In: JSON of projectcalico.org/v3. Out: immutable structs; the kind is
of the Enterprise edition (spec/resources.md 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, ObjectMeta

_ON_OFF = ["Enabled", "Disabled"]


class NamespaceRecommendations(ApiStruct, frozen=True, kw_only=True):
    rec_status: Annotated[
        str, doc("Whether policies are recommended for namespaces.", enum=_ON_OFF, default="Disabled")
    ] = ""
    selector: Annotated[
        str,
        doc("Selector on the names and labels of the namespaces.", maxLength=4096, required=True),
    ] = constant("")
    tier_name: Annotated[str, doc("Tier of the recommended policies.", default="namespace-isolation")] = ""
    intra_namespace_pass_through_traffic: Annotated[
        bool, doc("Whether traffic inside a namespace is passed to the next tier.", default=False)
    ] = False


class HostEndpointRecommendations(ApiStruct, frozen=True, kw_only=True):
    recommendation_status: Annotated[
        str, doc("Whether policies are recommended for host endpoints.", enum=_ON_OFF, default="Disabled")
    ] = ""
    selector: Annotated[str, doc("Selector on the labels of the host endpoints.", maxLength=4096, required=True)] = (
        constant("")
    )
    tier_name: Annotated[str, doc("Tier of the recommended policies.", default="hostendpoint-isolation")] = ""


class PolicyRecommendationScopeSpec(ApiStruct, frozen=True, kw_only=True):
    initial_lookback: Annotated[
        str, doc("How far back traffic is looked at for a new recommendation.", default="24h")
    ] = ""
    interval: Annotated[str, doc("Time between updates of a recommendation.", default="150s")] = ""
    stabilization_period: Annotated[
        str, doc("How long a recommendation must stay unchanged to count as stable.", default="10m")
    ] = ""
    max_rules: Annotated[int | None, doc("How many rules a recommendation may have.", minimum=0, default=20)] = None
    policies_learning_cut_off: Annotated[
        int | None, doc("How many recommendations may be in learning at once.", minimum=0, default=20)
    ] = None
    namespace_spec: Annotated[NamespaceRecommendations | None, doc("Recommendations for namespaces.")] = None
    host_endpoint_spec: Annotated[HostEndpointRecommendations | None, doc("Recommendations for host endpoints.")] = None


class PolicyRecommendationScopeStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[tuple[Condition, ...], doc("Whether recommendations are made.")] = ()


class PolicyRecommendationScope(Object, frozen=True, kw_only=True):
    """Settings of policy recommendation. The only object is named default."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("PolicyRecommendationScope")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[PolicyRecommendationScopeSpec, doc("The settings.")] = PolicyRecommendationScopeSpec()
    status: Annotated[PolicyRecommendationScopeStatus | None, doc("Whether recommendations are made.")] = None
