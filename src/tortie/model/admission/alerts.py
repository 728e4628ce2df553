"""Alerts, threat feeds, webhooks and reports: what they accept and exclude (spec/resources.md 1.4).

For admission. In: decoded objects. Out: problems with their paths.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tortie.model import cronexpr, formats
from tortie.model.admission.enterprise import check_period, needed
from tortie.model.admission.problems import Problems
from tortie.model.v3 import (
    AlertException,
    GlobalAlert,
    GlobalAlertTemplate,
    GlobalReport,
    GlobalReportType,
    GlobalThreatFeed,
    SecurityEventWebhook,
)
from tortie.model.v3.alerts import FeedHTTP, NamedValue

_SETTINGS = {
    "Slack": ("url",),
    "Generic": ("url",),
    "AlertManager": ("url",),
    "Jira": ("url", "project", "issueType", "username", "apiToken"),
}
_MINUTE, _FIVE_MINUTES = 60.0, 300.0
_MOST_MINUTES = 2
_ALERTS_PATH = "/api/v2/alerts"
_URL = re.compile(r"https?://[^\s/]\S*")
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}|\$\{")
_JSON_PATH = re.compile(r"\$(?:\.\.?(?:[^\s.\[\]()'\"]+)|\[(?:\"[^\"]*\"|\*|-?[0-9]+(?::-?[0-9]*)?)\])*")


def check_alert(alert: GlobalAlert | GlobalAlertTemplate, problems: Problems) -> None:
    spec = alert.spec
    needed("spec.description", spec.description, problems)
    if not spec.data_set:
        problems.required("spec.dataSet", "the logs to search are required")
    _at_least("spec.period", spec.period, _MINUTE, problems)
    _at_least("spec.lookback", spec.lookback, _MINUTE, problems)
    if spec.metric:
        if not spec.condition:
            problems.required("spec.condition", "a metric needs a condition")
        if spec.metric == "count" and spec.field:
            problems.forbidden("spec.field", "cannot be set when metric is count")
        if spec.metric != "count" and not spec.field:
            problems.required("spec.field", f"metric {spec.metric} needs a field")
    elif spec.field:
        problems.forbidden("spec.field", "cannot be set without a metric")
    names = [item.name for item in spec.substitutions]
    for index, name in enumerate(names):
        needed(f"spec.substitutions[{index}].name", name, problems)
    problems.unique("spec.substitutions", "name", names, "substitution")
    problems.query("spec.query", spec.query, names)
    known = dict.fromkeys([*spec.aggregate_by, spec.metric] if spec.metric else spec.aggregate_by)
    _placeholders("spec.description", spec.description, known, problems)
    _placeholders("spec.summary", spec.summary, known, problems)


def _placeholders(path: str, text: str, known: Iterable[str], problems: Problems) -> None:
    """`${field}` stands for what an event has: the fields that records are counted apart by, and the metric."""
    for found in _PLACEHOLDER.finditer(text):
        if found[1] is None:
            problems.add(path, text, "has ${ without a closing brace")
        elif found[1] not in known:
            names = ", ".join(known) or "none, because there is neither aggregateBy nor metric"
            problems.add(path, text, f"refers to ${{{found[1]}}}, but an event has these fields: {names}")


def check_alert_exception(exception: AlertException, problems: Problems) -> None:
    spec = exception.spec
    needed("spec.description", spec.description, problems)
    needed("spec.selector", spec.selector, problems)
    problems.query("spec.selector", spec.selector)
    check_period("spec", spec.start_time, spec.end_time, problems)


def check_threat_feed(feed: GlobalThreatFeed, problems: Problems) -> None:
    spec = feed.spec
    if spec.global_network_set is not None:
        if spec.content == "DomainNameSet":
            problems.forbidden("spec.globalNetworkSet", "is for content IPSet only")
        elif spec.pull is None:
            problems.required("spec.pull", "globalNetworkSet needs a feed that is pulled")
        problems.labels("spec.globalNetworkSet.labels", spec.global_network_set.labels)
    if spec.pull is not None:
        _at_least("spec.pull.period", spec.pull.period, _FIVE_MINUTES, problems)
        if spec.pull.http is not None:
            _feed(spec.pull.http, problems)


def _feed(http: FeedHTTP, problems: Problems) -> None:
    path = "spec.pull.http"
    if not _URL.fullmatch(http.url):
        problems.add(f"{path}.url", http.url, "must be a URL that begins with http:// or https://")
    _values(f"{path}.headers", http.headers, problems)
    form = http.format
    problems.one_of(f"{path}.format", form, optional=True)
    if form.json is not None and not _JSON_PATH.fullmatch(form.json.path):
        problems.add(
            f"{path}.format.json.path",
            form.json.path,
            'must be a JSONPath such as $.list or $["my list"][*].address, without filters and expressions',
        )
    csv = form.csv
    if csv is None:
        return
    path += ".format.csv"
    problems.one_of(path, csv, "fieldNum", "fieldName")
    if csv.field_name and not csv.header:
        problems.add(f"{path}.header", False, "must be true when fieldName is set")
    if csv.record_size is not None and csv.disable_record_size_validation:
        problems.forbidden(f"{path}.recordSize", "cannot be set when disableRecordSizeValidation is true")


def check_webhook(webhook: SecurityEventWebhook, problems: Problems) -> None:
    spec = webhook.spec
    needed("spec.consumer", spec.consumer, problems)
    needed("spec.state", spec.state, problems)
    needed("spec.query", spec.query, problems)
    problems.query("spec.query", spec.query)
    _values("spec.config", spec.config, problems)
    names = [item.name for item in spec.config]
    problems.unique("spec.config", "name", names, "setting")
    for index, item in enumerate(spec.config):
        if item.name == "url" and item.value:
            _webhook_url(f"spec.config[{index}].value", item.value, spec.consumer, problems)
    for name in _SETTINGS.get(spec.consumer, ()):
        if name not in names:
            problems.required("spec.config", f"consumer {spec.consumer} needs a setting named {name}")


def default_webhook(obj: dict[str, Any]) -> None:
    """The documentation writes Alertmanager where the API writes AlertManager; both are understood."""
    if obj["spec"].get("consumer") == "Alertmanager":
        obj["spec"]["consumer"] = "AlertManager"


def _webhook_url(path: str, url: str, consumer: str, problems: Problems) -> None:
    if not _URL.fullmatch(url):
        problems.add(path, url, "must be a URL that begins with http:// or https://")
    elif consumer == "AlertManager" and not url.endswith(_ALERTS_PATH):
        problems.add(path, url, f"must end with {_ALERTS_PATH}, where an Alertmanager takes alerts")


def _values(path: str, values: Sequence[NamedValue], problems: Problems) -> None:
    for index, item in enumerate(values):
        where = f"{path}[{index}]"
        needed(f"{where}.name", item.name, problems)
        if item.value_from is None:
            needed(f"{where}.value", item.value, problems)
            continue
        if item.value:
            problems.forbidden(f"{where}.value", "cannot be set together with valueFrom")
        problems.one_of(f"{where}.valueFrom", item.value_from)


def _at_least(path: str, value: str | None, least: float, problems: Problems) -> None:
    if not value:
        return
    if message := formats.duration_problem(value):
        problems.add(path, value, message)
    elif formats.duration_seconds(value) < least:
        problems.add(path, value, f"must be at least {least / 60:.0f}m")


# --- reports ---------------------------------------------------------------------------------------------------


def check_report(report: GlobalReport, problems: Problems) -> None:
    spec = report.spec
    problems.text("spec.reportType", spec.report_type, formats.name_problem)
    needed("spec.reportType", spec.report_type, problems)
    if spec.schedule and (message := _schedule_problem(spec.schedule)):
        problems.add("spec.schedule", spec.schedule, message)
    problems.labels("spec.jobNodeSelector", spec.job_node_selector)
    if spec.endpoints is not None:
        problems.selector("spec.endpoints.selector", spec.endpoints.selector)
        for field, part in (
            ("namespaces", spec.endpoints.namespaces),
            ("serviceAccounts", spec.endpoints.service_accounts),
        ):
            if part is not None:
                problems.selector(f"spec.endpoints.{field}.selector", part.selector)


def _schedule_problem(schedule: str) -> str:
    try:
        found = cronexpr.parse(schedule)
    except ValueError as error:
        return f"must be a schedule as cron has them, such as 0 0 * * *: {error}"
    if len(found.minutes) > _MOST_MINUTES:
        return f"must not have more than {_MOST_MINUTES} minutes of an hour"
    return ""


def check_report_type(report_type: GlobalReportType, problems: Problems) -> None:
    templates = report_type.spec.download_templates
    problems.unique("spec.downloadTemplates", "name", (template.name for template in templates), "template")
