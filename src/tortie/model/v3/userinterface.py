"""What the web console remembers: UISettingsGroup and UISettings.

For admission and the console. In: JSON of projectcalico.org/v3. Out: immutable structs; both kinds are of the
Enterprise edition (spec/resources.md 1.4, spec/compliance-threat-ui.md 4.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta


class UISettingsGroupSpec(ApiStruct, frozen=True, kw_only=True):
    description: Annotated[str, doc("What the group is called in the console.", required=True)] = ""
    filter_type: Annotated[str, doc("User shows each user only what he or she made.", enum=["None", "User"])] = ""


class UISettingsGroup(Object, frozen=True, kw_only=True):
    """A group of settings of the console; rights are given by group."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("UISettingsGroup")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[UISettingsGroupSpec, doc("The group.")] = UISettingsGroupSpec()


class UIViewNode(ApiStruct, frozen=True, kw_only=True):
    id: Annotated[str, doc("Identity of the node in the graph.", required=True)] = ""
    name: Annotated[str, doc("Name of the node.", required=True)] = ""
    type: Annotated[str, doc("What the node stands for.", required=True)] = ""
    namespace: Annotated[str, doc("Namespace of what it stands for.")] = ""
    expanded: Annotated[bool, doc("Whether its parts are shown.")] = False
    in_focus: Annotated[bool, doc("Whether it is in focus.")] = False
    hide: Annotated[bool, doc("Whether it is hidden.")] = False
    hide_unrelated: Annotated[bool, doc("Whether what has no traffic with it is hidden.")] = False
    deemphasize: Annotated[bool, doc("Whether it is drawn faintly.")] = False
    follow_ingress: Annotated[bool, doc("Whether nodes that send to it are shown.")] = False
    follow_egress: Annotated[bool, doc("Whether nodes that it sends to are shown.")] = False


class UIPosition(ApiStruct, frozen=True, kw_only=True):
    id: Annotated[str, doc("Identity of the node.", required=True)] = ""
    x_pos: Annotated[int | None, doc("Place from the left.", required=True)] = None
    y_pos: Annotated[int | None, doc("Place from the top.", required=True)] = None
    z_pos: Annotated[int | None, doc("Place from the front.", required=True)] = None


class UINamedSelector(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("What the hosts are called together.", required=True)] = ""
    selector: Annotated[str, doc("Selector on the labels of the hosts.", required=True)] = ""


class UIView(ApiStruct, frozen=True, kw_only=True):
    nodes: Annotated[tuple[UIViewNode, ...], doc("Nodes with settings of their own.")] = ()
    positions: Annotated[tuple[UIPosition, ...], doc("Where nodes are drawn.")] = ()
    layers: Annotated[tuple[str, ...], doc("Names of the layers shown.")] = ()
    host_aggregation_selectors: Annotated[
        tuple[UINamedSelector, ...], doc("Hosts that are shown as one; the first selector that matches counts.")
    ] = ()
    layout_type: Annotated[str, doc("How the graph is laid out.")] = ""
    expand_ports: Annotated[bool, doc("Whether each port is drawn.")] = False
    follow_connection_direction: Annotated[bool, doc("Whether traffic is followed in its direction only.")] = False
    split_ingress_egress: Annotated[bool, doc("Whether nodes are drawn apart for both directions.")] = False


class UILayerNode(ApiStruct, frozen=True, kw_only=True):
    id: Annotated[str, doc("Identity of the node in the graph.", required=True)] = ""
    name: Annotated[str, doc("Name of the node.", required=True)] = ""
    type: Annotated[str, doc("What the node stands for.", required=True)] = ""
    namespace: Annotated[str, doc("Namespace of what it stands for.")] = ""


class UILayer(ApiStruct, frozen=True, kw_only=True):
    nodes: Annotated[tuple[UILayerNode, ...], doc("Nodes that are drawn as one.")] = ()
    icon: Annotated[str, doc("Icon of the layer.")] = ""
    color: Annotated[str, doc("Colour of the layer.")] = ""


class UIDashboardLayout(ApiStruct, frozen=True, kw_only=True):
    index: Annotated[str, doc("Identity of the card.")] = ""
    x_pos: Annotated[int | None, doc("Place from the left.", required=True)] = None
    y_pos: Annotated[int | None, doc("Place from the top.", required=True)] = None
    width: Annotated[int | None, doc("Width of the card.", required=True)] = None
    height: Annotated[int | None, doc("Height of the card.", required=True)] = None
    min_width: Annotated[int | None, doc("Least width.")] = None
    max_width: Annotated[int | None, doc("Greatest width.")] = None
    min_height: Annotated[int | None, doc("Least height.")] = None
    max_height: Annotated[int | None, doc("Greatest height.")] = None


class UIDashboardCard(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("What the card shows.")] = ""
    selected_namespace: Annotated[str, doc("The namespace that it is about.")] = ""
    layout: Annotated[UIDashboardLayout | None, doc("Where the card is.")] = None


class UIDashboard(ApiStruct, frozen=True, kw_only=True):
    dashboard_data: Annotated[tuple[UIDashboardCard, ...], doc("The cards.")] = ()


class UISettingsSpec(ApiStruct, frozen=True, kw_only=True):
    group: Annotated[str, doc("Name of the UISettingsGroup. Cannot be changed.", required=True)] = ""
    description: Annotated[str, doc("What the setting is called in the console.", required=True)] = ""
    user: Annotated[
        str, doc("The user who made it, if the group shows each user his or her own. Set by the server.")
    ] = ""
    view: Annotated[UIView | None, doc("How the service graph is shown; excludes layer and dashboard.")] = None
    layer: Annotated[UILayer | None, doc("Nodes drawn as one; excludes view and dashboard.")] = None
    dashboard: Annotated[UIDashboard | None, doc("A page of cards; excludes view and layer.")] = None


class UISettings(Object, frozen=True, kw_only=True):
    """One setting of the console. Its name begins with the name of its group and a dot."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("UISettings")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[UISettingsSpec, doc("The setting.")] = UISettingsSpec()
