"""Looking into traffic: PacketCapture and DeepPacketInspection.

For admission and for the node agent, which captures. In: JSON of projectcalico.org/v3. Out: immutable structs; both
kinds are of the Enterprise edition (spec/resources.md 1.4, spec/logs-linseed.md 6.1).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta


class PacketCaptureFilter(ApiStruct, frozen=True, kw_only=True):
    protocol: Annotated[
        int | str | None, doc("Protocol of the packets: a name such as TCP, or a number from 1 to 255; any if absent.")
    ] = None
    ports: Annotated[
        tuple[int | str, ...],
        doc("Source or destination ports, any of which must match: numbers and ranges such as 8000:8080, no names."),
    ] = ()


class PacketCaptureSpec(ApiStruct, frozen=True, kw_only=True):
    selector: Annotated[
        str,
        doc("Selector on the labels of the endpoints of the namespace to capture from.", default="all()"),
    ] = ""
    filters: Annotated[
        tuple[PacketCaptureFilter, ...],
        doc("What is captured: packets that match all fields of any of these; everything if absent."),
    ] = ()
    start_time: Annotated[str | None, doc("When the capture begins; at once if absent.", format="date-time")] = None
    end_time: Annotated[
        str | None, doc("When the capture ends, after startTime; never if absent.", format="date-time")
    ] = None


class PacketCaptureFile(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[str, doc("The node that captures.")] = ""
    directory: Annotated[str, doc("Where the files are on the node.")] = ""
    file_names: Annotated[tuple[str, ...], doc("Names of the files.")] = ()
    state: Annotated[
        str,
        doc("How far the capture is.", enum=["Capturing", "Finished", "Scheduled", "Error", "WaitingForTraffic"]),
    ] = ""


class PacketCaptureStatus(ApiStruct, frozen=True, kw_only=True):
    files: Annotated[tuple[PacketCaptureFile, ...], doc("The files of each node.")] = ()


class PacketCapture(Object, frozen=True, kw_only=True):
    """Asks the nodes to write packets of chosen endpoints to files."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("PacketCapture")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[PacketCaptureSpec, doc("What is captured, and when.")] = PacketCaptureSpec()
    status: Annotated[PacketCaptureStatus | None, doc("The files written so far.")] = None


class DeepPacketInspectionSpec(ApiStruct, frozen=True, kw_only=True):
    selector: Annotated[str, doc("Selector on the labels of the endpoints of the namespace to inspect.")] = ""


class DPIActive(ApiStruct, frozen=True, kw_only=True):
    success: Annotated[bool, doc("Whether inspection runs.")] = False
    last_updated: Annotated[str | None, doc("When this was reported.", format="date-time")] = None


class DPIErrorCondition(ApiStruct, frozen=True, kw_only=True):
    message: Annotated[str, doc("What went wrong.")] = ""
    last_updated: Annotated[str | None, doc("When it was reported.", format="date-time")] = None


class DPINode(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[str, doc("The node that inspects.")] = ""
    active: Annotated[DPIActive, doc("Whether inspection runs on it.")] = DPIActive()
    error_conditions: Annotated[tuple[DPIErrorCondition, ...], doc("The latest errors of the node.", maxItems=10)] = ()


class DeepPacketInspectionStatus(ApiStruct, frozen=True, kw_only=True):
    nodes: Annotated[tuple[DPINode, ...], doc("The state on each node.")] = ()


class DeepPacketInspection(Object, frozen=True, kw_only=True):
    """Asks the nodes to search the traffic of chosen endpoints for attacks."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("DeepPacketInspection")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[DeepPacketInspectionSpec, doc("What is inspected.")] = DeepPacketInspectionSpec()
    status: Annotated[DeepPacketInspectionStatus | None, doc("Whether inspection runs.")] = None
