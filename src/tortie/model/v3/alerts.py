"""Alerts and threats: GlobalAlert, its template, AlertException, GlobalThreatFeed and SecurityEventWebhook.

For admission and for the components that watch the logs. In: JSON of projectcalico.org/v3. Out: immutable structs; all
kinds are of the Enterprise edition (spec/resources.md 1.4, spec/compliance-threat-ui.md 2).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import Condition, ObjectMeta


class ErrorCondition(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("What kind of error it is.", required=True)] = ""
    message: Annotated[str, doc("What went wrong.", required=True)] = ""


class AlertSubstitution(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name by which the query refers to the values; unique.", required=True)] = ""
    values: Annotated[tuple[str, ...], doc("The values; * and ? stand for any characters.")] = ()


class AlertDetector(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the detector.", required=True)] = ""


class GlobalAlertSpec(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("How the alert is found; RuleBased if absent.", enum=["RuleBased"])] = ""
    description: Annotated[str, doc("What the alert is about; also its summary if that is absent.", required=True)] = ""
    summary: Annotated[str, doc("Text of each event; ${field} is replaced by the field's value.")] = ""
    severity: Annotated[
        int | None, doc("How bad it is, 100 being the worst.", minimum=1, maximum=100, required=True)
    ] = None
    data_set: Annotated[
        str,
        doc(
            "The logs to search; required.",
            enum=["flows", "dns", "audit", "l7", "waf", "vulnerability"],
        ),
    ] = ""
    period: Annotated[str | None, doc("Time between searches, at least 1m; 5m if absent.")] = None
    lookback: Annotated[
        str | None,
        doc("How far each search reaches back; 10m if absent. Longer than the period and the delay of the logs."),
    ] = None
    query: Annotated[str, doc("Which records count; all if absent.")] = ""
    aggregate_by: Annotated[tuple[str, ...], doc("Fields by whose values the records are counted apart.")] = ()
    field: Annotated[str, doc("The field that the metric is computed of.", maxLength=256)] = ""
    metric: Annotated[
        str,
        doc("What is computed of the records.", enum=["avg", "max", "min", "sum", "count"]),
    ] = ""
    condition: Annotated[
        str,
        doc("How the metric is compared with the threshold.", enum=["eq", "not_eq", "gt", "gte", "lt", "lte"]),
    ] = ""
    threshold: Annotated[float | None, doc("What the metric is compared with.")] = None
    substitutions: Annotated[tuple[AlertSubstitution, ...], doc("Lists of values that the query refers to.")] = ()
    detector: Annotated[AlertDetector | None, doc("A detector of older versions. Not used any more.")] = None


class GlobalAlertStatus(ApiStruct, frozen=True, kw_only=True):
    last_update: Annotated[str | None, doc("When the status changed last.", format="date-time")] = None
    active: Annotated[bool, doc("Whether the alert is searched for.", required=True)] = constant(False)
    healthy: Annotated[bool, doc("Whether the latest search worked.", required=True)] = constant(False)
    last_executed: Annotated[str | None, doc("When the latest search ran.", format="date-time")] = None
    last_event: Annotated[str | None, doc("When the latest event was found.", format="date-time")] = None
    error_conditions: Annotated[tuple[ErrorCondition, ...], doc("What went wrong.")] = ()


class GlobalAlert(Object, frozen=True, kw_only=True):
    """A search of the logs that runs again and again, and makes an event of what it finds."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalAlert")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalAlertSpec, doc("What is searched for.")] = GlobalAlertSpec()
    status: Annotated[GlobalAlertStatus | None, doc("How the searches go.")] = None


class GlobalAlertTemplate(Object, frozen=True, kw_only=True):
    """A GlobalAlert to be copied; it is not searched for itself."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalAlertTemplate")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalAlertSpec, doc("What the copies search for.")] = GlobalAlertSpec()


class AlertExceptionSpec(ApiStruct, frozen=True, kw_only=True):
    description: Annotated[str, doc("Why these events are left out.", required=True)] = ""
    selector: Annotated[str, doc("Query that selects the events.", required=True)] = ""
    start_time: Annotated[str | None, doc("From when events are left out.", format="date-time", required=True)] = None
    end_time: Annotated[str | None, doc("Until when, after startTime; for ever if absent.", format="date-time")] = None


class AlertExceptionStatus(ApiStruct, frozen=True, kw_only=True):
    """Nothing is reported yet."""


class AlertException(Object, frozen=True, kw_only=True):
    """Events that are not shown."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("AlertException")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[AlertExceptionSpec, doc("Which events, and when.")] = AlertExceptionSpec()
    status: Annotated[AlertExceptionStatus | None, doc("What the system observes of the exception.")] = None


class KeySelector(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the object.")] = ""
    key: Annotated[str, doc("Key inside the object whose value is taken.", required=True)] = ""
    optional: Annotated[bool, doc("True if the object or its key may be missing.")] = False


class ValueSource(ApiStruct, frozen=True, kw_only=True):
    config_map_key_ref: Annotated[KeySelector | None, doc("A key of a ConfigMap.")] = None
    secret_key_ref: Annotated[KeySelector | None, doc("A key of a Secret.")] = None


class NamedValue(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the header or setting.", required=True)] = ""
    value: Annotated[str, doc("The value itself; excludes valueFrom.")] = ""
    value_from: Annotated[ValueSource | None, doc("Where the value is read from; excludes value.")] = None


class FeedNewlines(ApiStruct, frozen=True, kw_only=True):
    """One entry in each line; # begins a comment."""


class FeedJSON(ApiStruct, frozen=True, kw_only=True):
    path: Annotated[str, doc("JSONPath of the list of entries.")] = ""


class FeedCSV(ApiStruct, frozen=True, kw_only=True):
    field_num: Annotated[int | None, doc("Number of the column of the entries, from 0.", minimum=0)] = None
    field_name: Annotated[str, doc("Name of the column of the entries; needs header.")] = ""
    header: Annotated[bool, doc("Whether the first line names the columns.")] = False
    column_delimiter: Annotated[str, doc("What separates columns; a comma if absent.")] = ""
    comment_delimiter: Annotated[str, doc("What begins a comment.")] = ""
    record_size: Annotated[int | None, doc("How many columns each line must have.", minimum=1)] = None
    disable_record_size_validation: Annotated[bool, doc("Accept lines of any number of columns.")] = False


class FeedFormat(ApiStruct, frozen=True, kw_only=True):
    newline_delimited: Annotated[FeedNewlines | None, doc("One entry in each line.")] = None
    json: Annotated[FeedJSON | None, doc("Entries in a JSON document.")] = None
    csv: Annotated[FeedCSV | None, doc("Entries in a column of a table.")] = None


class FeedHTTP(ApiStruct, frozen=True, kw_only=True):
    url: Annotated[str, doc("Where the feed is, with http or https.", required=True)] = ""
    headers: Annotated[tuple[NamedValue, ...], doc("Headers of the request.")] = ()
    format: Annotated[FeedFormat, doc("How the feed is written; newlineDelimited if absent.")] = FeedFormat()


class FeedPull(ApiStruct, frozen=True, kw_only=True):
    period: Annotated[str, doc("Time between downloads, at least 5m.", default="24h")] = ""
    http: Annotated[FeedHTTP | None, doc("How the feed is downloaded.", required=True)] = None


class FeedNetworkSet(ApiStruct, frozen=True, kw_only=True):
    labels: Annotated[dict[str, str], doc("Labels of the GlobalNetworkSet that holds the addresses.")] = empty_map()


class GlobalThreatFeedSpec(ApiStruct, frozen=True, kw_only=True):
    content: Annotated[str, doc("What the feed lists.", enum=["IPSet", "DomainNameSet"], default="IPSet")] = ""
    mode: Annotated[str, doc("Whether the feed is used.", enum=["Enabled", "Disabled"], default="Enabled")] = ""
    description: Annotated[str, doc("What the feed is about.", maxLength=256)] = ""
    feed_type: Annotated[
        str, doc("Whether the feed came with the product.", enum=["Builtin", "Custom"], default="Custom")
    ] = ""
    global_network_set: Annotated[
        FeedNetworkSet | None, doc("Copies the addresses to a GlobalNetworkSet; for an IPSet that is pulled.")
    ] = None
    pull: Annotated[FeedPull | None, doc("How the feed is fetched; others write it if absent.")] = None


class GlobalThreatFeedStatus(ApiStruct, frozen=True, kw_only=True):
    last_successful_sync: Annotated[str | None, doc("When the feed was fetched last.", format="date-time")] = None
    last_successful_search: Annotated[
        str | None, doc("When the logs were searched for it last.", format="date-time")
    ] = None
    error_conditions: Annotated[tuple[ErrorCondition, ...], doc("What went wrong.")] = ()


class GlobalThreatFeed(Object, frozen=True, kw_only=True):
    """Addresses or domains of ill repute that the logs are searched for."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalThreatFeed")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalThreatFeedSpec, doc("What the feed is and where it comes from.")] = GlobalThreatFeedSpec()
    status: Annotated[GlobalThreatFeedStatus | None, doc("How fetching and searching go.")] = None


class SecurityEventWebhookSpec(ApiStruct, frozen=True, kw_only=True):
    consumer: Annotated[
        str,
        doc("Who receives the events.", enum=["Slack", "Jira", "Generic", "AlertManager"], required=True),
    ] = ""
    state: Annotated[
        str,
        doc("Whether events are sent.", enum=["Enabled", "Disabled", "Test", "Debug"], required=True),
    ] = ""
    query: Annotated[str, doc("Query that selects the events.", required=True)] = ""
    config: Annotated[tuple[NamedValue, ...], doc("Settings of the consumer, such as its url.", required=True)] = ()


class SecurityEventWebhook(Object, frozen=True, kw_only=True):
    """Sends security events to a chat, an issue tracker or another consumer."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("SecurityEventWebhook")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[SecurityEventWebhookSpec, doc("Which events go where.")] = SecurityEventWebhookSpec()
    status: Annotated[tuple[Condition, ...] | None, doc("How sending goes.")] = None
