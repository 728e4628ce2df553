"""The metadata that every API object carries, and the small types shared by all groups.

For every struct of an API object. In: JSON of the Kubernetes API. Out: `ObjectMeta`, `LabelSelector`, `Condition`
and friends; timestamps stay text (RFC 3339), since most readers only pass them on.
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, doc, empty_map


class OwnerReference(ApiStruct, frozen=True, kw_only=True):
    api_version: Annotated[str, doc("API version of the owner.")] = ""
    kind: Annotated[str, doc("Kind of the owner.")] = ""
    name: Annotated[str, doc("Name of the owner.")] = ""
    uid: Annotated[str, doc("UID of the owner.")] = ""
    controller: Annotated[bool, doc("True for the one owner that manages this object.")] = False
    block_owner_deletion: Annotated[
        bool, doc("True if the owner cannot be removed in the foreground before this object.")
    ] = False


class ObjectMeta(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = empty_map()
    annotations: dict[str, str] = empty_map()
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()


class ListMeta(ApiStruct, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str = ""
    remaining_item_count: int | None = None


class LabelSelectorRequirement(ApiStruct, frozen=True, kw_only=True):
    key: Annotated[str, doc("The label key that the requirement is about.", required=True)] = ""
    operator: Annotated[
        str, doc("How the label relates to the values: In, NotIn, Exists or DoesNotExist.", required=True)
    ] = ""
    values: Annotated[
        tuple[str, ...], doc("Values for In and NotIn, where it must not be empty; empty for the other operators.")
    ] = ()


class LabelSelector(ApiStruct, frozen=True, kw_only=True):
    """All requirements must hold; without any, everything matches."""

    match_labels: Annotated[dict[str, str], doc("Labels that must be present with exactly these values.")] = empty_map()
    match_expressions: Annotated[
        tuple[LabelSelectorRequirement, ...], doc("Further requirements on labels; all must hold.")
    ] = ()


class Condition(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("What the condition is about, in CamelCase.", required=True)] = ""
    status: Annotated[
        str, doc("Whether it holds: True, False or Unknown.", enum=["True", "False", "Unknown"], required=True)
    ] = ""
    reason: Annotated[str, doc("Why, in one CamelCase word for programs.", required=True)] = ""
    message: Annotated[str, doc("Why, in words for people.", required=True)] = ""
    last_transition_time: Annotated[
        str | None, doc("When the status changed last.", format="date-time", required=True)
    ] = None
    observed_generation: Annotated[
        int | None,
        doc("The generation of the object that the condition was computed from.", format="int64", minimum=0),
    ] = None


class ObjectReference(ApiStruct, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    field_path: str = ""


class SecretKeySelector(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the Secret.")] = ""
    key: Annotated[str, doc("Key inside the Secret whose value is taken.", required=True)] = ""
    optional: Annotated[bool, doc("True if the Secret or its key may be missing.")] = False
