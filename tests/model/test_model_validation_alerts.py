"""What admission accepts and refuses in alerts, threat feeds, webhooks and reports (spec/resources.md 1.4).

One case a line. Queries as such are in test_model_query.py, other kinds of the Enterprise edition in
test_model_validation_enterprise.py.
"""

from typing import Any

import pytest
from validation_cases import Case, Expected, every_case_has_both, judge, named, parameters, without

from tortie.model import catalog as c
from tortie.model.admission import admit
from tortie.model.resource import Resource

ALERT = {"description": "d", "severity": 50, "dataSet": "flows"}
EXCEPTION = {"description": "d", "selector": "origin = x", "startTime": "2026-01-01T00:00:00Z"}
HOOK = {
    "consumer": "Slack",
    "state": "Enabled",
    "query": "type = waf",
    "config": [{"name": "url", "value": "https://x"}],
}
JIRA = [{"name": name, "value": f"https://{name}"} for name in ("url", "project", "issueType", "username", "apiToken")]
ALERTS = [{"name": "url", "value": "https://alerts:9093/api/v2/alerts"}, {"name": "basicAuth", "value": "a:b"}]
KEY = {"name": "s", "key": "k"}


def feed(**http: Any) -> dict[str, Any]:
    return {"pull": {"http": {"url": "https://x/feed", **http}}}


def csv(**fields: Any) -> dict[str, Any]:
    return feed(format={"csv": fields})


CASES: dict[Resource[Any], list[Case]] = {
    c.ALERT_EXCEPTIONS: [
        ("start alone", EXCEPTION, None),
        ("end after start", {**EXCEPTION, "endTime": "2027-01-01T00:00:00Z"}, None),
        ("end before start", {**EXCEPTION, "endTime": "2025-01-01T00:00:00Z"}, "spec.endTime"),
        ("description is required", without(EXCEPTION, "description"), "spec.description"),
        ("selector is required", {**EXCEPTION, "selector": ""}, "spec.selector"),
        ("selector of two", {**EXCEPTION, "selector": 'origin = x AND "source_namespace" = y'}, None),
        ("selector of labels", {**EXCEPTION, "selector": "origin == 'x'"}, "spec.selector"),
        ("selector with a substitution", {**EXCEPTION, "selector": "origin IN ${x}"}, "spec.selector"),
        ("start is required", without(EXCEPTION, "startTime"), "spec.startTime"),
    ],
    c.GLOBAL_THREAT_FEEDS: [
        ("pushed", {}, None),
        ("pulled", feed(headers=[{"name": "A", "valueFrom": {"secretKeyRef": KEY}}]), None),
        ("copied to a set", {**feed(), "globalNetworkSet": {"labels": {"a": "b"}}}, None),
        (
            "domains have no set",
            {**feed(), "content": "DomainNameSet", "globalNetworkSet": {}},
            "spec.globalNetworkSet",
        ),
        ("a set needs pull", {"globalNetworkSet": {}}, "spec.pull"),
        ("unknown content", {"content": "URLs"}, "spec.content"),
        ("unknown type", {"feedType": "Other"}, "spec.feedType"),
        ("unknown mode", {"mode": "On"}, "spec.mode"),
        ("description of 256", {"description": "x" * 256}, None),
        ("description of 257", {"description": "x" * 257}, "spec.description"),
        ("period of 5m", {"pull": {"period": "5m", "http": {"url": "http://x"}}}, None),
        ("period below 5m", {"pull": {"period": "4m59s", "http": {"url": "http://x"}}}, "spec.pull.period"),
        ("pull needs http", {"pull": {"period": "5m"}}, "spec.pull.http"),
        ("other scheme", feed(url="ftp://x"), "spec.pull.http.url"),
        ("url is required", {"pull": {"http": {}}}, "spec.pull.http.url"),
        (
            "value and source",
            feed(headers=[{"name": "A", "value": "v", "valueFrom": {"secretKeyRef": KEY}}]),
            "spec.pull.http.headers[0].value",
        ),
        ("neither value nor source", feed(headers=[{"name": "A"}]), "spec.pull.http.headers[0].value"),
        ("header without a name", feed(headers=[{"value": "v"}]), "spec.pull.http.headers[0].name"),
        (
            "two sources",
            feed(headers=[{"name": "A", "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}]),
            "spec.pull.http.headers[0].valueFrom",
        ),
        ("one format", feed(format={"json": {"path": "$.x"}}), None),
        ("path into a list", feed(format={"json": {"path": '$["my list"][*].ip'}}), None),
        ("path of an index", feed(format={"json": {"path": "$.lists[0].ips"}}), None),
        *[
            (f"path {path!r}", feed(format={"json": {"path": path}}), "spec.pull.http.format.json.path")
            for path in ("", "x", "$.x[?(@.y)]", "$.x[(@.length-1)]", "$['x']", "$.x y")
        ],
        ("two formats", feed(format={"json": {"path": "$.x"}, "newlineDelimited": {}}), "spec.pull.http.format"),
        ("column by number", csv(fieldNum=0), None),
        ("column by name", csv(fieldName="ip", header=True), None),
        ("column by both", csv(fieldNum=0, fieldName="ip", header=True), "spec.pull.http.format.csv"),
        ("column by neither", csv(header=True), "spec.pull.http.format.csv"),
        ("a name needs a header", csv(fieldName="ip"), "spec.pull.http.format.csv.header"),
        ("record size", csv(fieldNum=0, recordSize=3), None),
        (
            "record size checked and not",
            csv(fieldNum=0, recordSize=3, disableRecordSizeValidation=True),
            "spec.pull.http.format.csv.recordSize",
        ),
        ("record size 0", csv(fieldNum=0, recordSize=0), "spec.pull.http.format.csv.recordSize"),
    ],
    c.SECURITY_EVENT_WEBHOOKS: [
        ("Slack", HOOK, None),
        ("Slack needs a url", {**HOOK, "config": []}, "spec.config"),
        ("Jira needs five settings", {**HOOK, "consumer": "Jira"}, "spec.config"),
        ("Jira", {**HOOK, "consumer": "Jira", "config": JIRA}, None),
        ("Generic", {**HOOK, "consumer": "Generic"}, None),
        ("AlertManager", {**HOOK, "consumer": "AlertManager", "config": ALERTS}, None),
        ("AlertManager elsewhere", {**HOOK, "consumer": "AlertManager"}, "spec.config[0].value"),
        ("url without a scheme", {**HOOK, "config": [{"name": "url", "value": "x"}]}, "spec.config[0].value"),
        ("setting without a value", {**HOOK, "config": [{"name": "url"}]}, "spec.config[0].value"),
        ("setting twice", {**HOOK, "config": HOOK["config"] * 2}, "spec.config[1].name"),
        *[(f"state {state}", {**HOOK, "state": state}, None) for state in ("Disabled", "Test", "Debug")],
        ("query that is none", {**HOOK, "query": "q"}, "spec.query"),
        ("query by labels", {**HOOK, "query": "a.b = c"}, "spec.query"),
        ("unknown consumer", {**HOOK, "consumer": "Pager"}, "spec.consumer"),
        ("unknown state", {**HOOK, "state": "On"}, "spec.state"),
        ("query is required", without(HOOK, "query"), "spec.query"),
        ("config is required", without(HOOK, "config"), "spec.config"),
        ("url from a secret", {**HOOK, "config": [{"name": "url", "valueFrom": {"secretKeyRef": KEY}}]}, None),
        (
            "url twice",
            {**HOOK, "config": [{"name": "url", "value": "x", "valueFrom": {"secretKeyRef": KEY}}]},
            "spec.config[0].value",
        ),
    ],
    c.GLOBAL_REPORTS: [
        ("type", {"reportType": "inventory", "schedule": "0 0 * * *", "jobNodeSelector": {"a": "b"}}, None),
        ("twice an hour", {"reportType": "inventory", "schedule": "*/30 * * * *"}, None),
        ("three times an hour", {"reportType": "inventory", "schedule": "0,20,40 * * * *"}, "spec.schedule"),
        ("not a schedule", {"reportType": "inventory", "schedule": "daily"}, "spec.schedule"),
        ("schedule in words", {"reportType": "inventory", "schedule": "0 0 * jan mon-fri"}, None),
        ("schedule at hour 24", {"reportType": "inventory", "schedule": "0 24 * * *"}, "spec.schedule"),
        ("schedule of six fields", {"reportType": "inventory", "schedule": "0 0 * * * *"}, "spec.schedule"),
        ("type with capitals", {"reportType": "Inventory"}, "spec.reportType"),
        ("bad label of nodes", {"reportType": "a", "jobNodeSelector": {"a b": "c"}}, "spec.jobNodeSelector"),
        (
            "bad selector of accounts",
            {"reportType": "a", "endpoints": {"serviceAccounts": {"selector": "x"}}},
            "spec.endpoints.serviceAccounts.selector",
        ),
        (
            "benchmarks",
            {"reportType": "a", "cis": {"medThreshold": 50, "resultsFilters": [{"include": ["1"]}]}},
            None,
        ),
        ("failed tests below 0", {"reportType": "a", "cis": {"numFailedTests": -1}}, "spec.cis.numFailedTests"),
        ("type is required", {}, "spec.reportType"),
        ("endpoints", {"reportType": "a", "endpoints": {"selector": "a == 'b'", "namespaces": {"names": ["x"]}}}, None),
        (
            "bad selector",
            {"reportType": "a", "endpoints": {"namespaces": {"selector": "=="}}},
            "spec.endpoints.namespaces.selector",
        ),
    ],
    c.GLOBAL_REPORT_TYPES: [
        ("templates", {"downloadTemplates": [{"name": "a"}, {"name": "b"}], "includeCISBenchmarkData": True}, None),
        ("names are unique", {"downloadTemplates": [{"name": "a"}, {"name": "a"}]}, "spec.downloadTemplates[1].name"),
    ],
}
for _kind in (c.GLOBAL_ALERTS, c.GLOBAL_ALERT_TEMPLATES):
    CASES[_kind] = [
        ("least", ALERT, None),
        ("metric", {**ALERT, "metric": "sum", "field": "bytes", "condition": "gt", "threshold": 1.5}, None),
        ("count", {**ALERT, "metric": "count", "condition": "gt", "threshold": 1}, None),
        ("count of a field", {**ALERT, "metric": "count", "condition": "gt", "field": "x"}, "spec.field"),
        ("sum of nothing", {**ALERT, "metric": "sum", "condition": "gt"}, "spec.field"),
        ("field without metric", {**ALERT, "field": "x"}, "spec.field"),
        ("metric without condition", {**ALERT, "metric": "count"}, "spec.condition"),
        ("unknown metric", {**ALERT, "metric": "median", "condition": "gt", "field": "x"}, "spec.metric"),
        ("unknown condition", {**ALERT, "metric": "count", "condition": "ne"}, "spec.condition"),
        ("field of 257", {**ALERT, "metric": "sum", "condition": "gt", "field": "x" * 257}, "spec.field"),
        ("severity 0", {**ALERT, "severity": 0}, "spec.severity"),
        ("severity 101", {**ALERT, "severity": 101}, "spec.severity"),
        ("severity is required", without(ALERT, "severity"), "spec.severity"),
        ("description is required", {**ALERT, "description": ""}, "spec.description"),
        ("data set is required", without(ALERT, "dataSet"), "spec.dataSet"),
        ("unknown data set", {**ALERT, "dataSet": "mail"}, "spec.dataSet"),
        ("period of 1m", {**ALERT, "period": "1m"}, None),
        ("period below 1m", {**ALERT, "period": "59s"}, "spec.period"),
        ("substitutions", {**ALERT, "substitutions": [{"name": "a", "values": ["x*"]}, {"name": "b"}]}, None),
        ("same substitution", {**ALERT, "substitutions": [{"name": "a"}, {"name": "a"}]}, "spec.substitutions[1].name"),
        ("unknown type", {**ALERT, "type": "Learned"}, "spec.type"),
        ("no type", {**ALERT, "type": ""}, None),
        ("lookback below 1m", {**ALERT, "lookback": "59s"}, "spec.lookback"),
        ("lookback in words", {**ALERT, "lookback": "long"}, "spec.lookback"),
        ("substitution without a name", {**ALERT, "substitutions": [{"name": ""}]}, "spec.substitutions[0].name"),
        ("query", {**ALERT, "query": 'action = deny AND ("dest_port" = 22 OR NOT proto IN {"t*"})'}, None),
        ("query that is none", {**ALERT, "query": "action == deny"}, "spec.query"),
        ("query with a dot", {**ALERT, "query": "servers.ip = x"}, "spec.query"),
        ("query by substitution", {**ALERT, "query": "a IN ${x}", "substitutions": [{"name": "x"}]}, None),
        ("query by a missing one", {**ALERT, "query": "a NOTIN ${y}", "substitutions": [{"name": "x"}]}, "spec.query"),
        (
            "summary of a field",
            {**ALERT, "summary": "in ${dest_port}", "aggregateBy": ["dest_port"]},
            None,
        ),
        (
            "summary of the metric",
            {**ALERT, "metric": "count", "condition": "gt", "summary": "${count} times", "description": "${count}"},
            None,
        ),
        ("summary of another field", {**ALERT, "summary": "${x}", "aggregateBy": ["y"]}, "spec.summary"),
        ("description of another field", {**ALERT, "description": "${x}"}, "spec.description"),
        ("summary without an end", {**ALERT, "summary": "${x", "aggregateBy": ["x"]}, "spec.summary"),
        ("a dollar alone", {**ALERT, "summary": "costs $5 {x}"}, None),
        *[(f"data set {name}", {**ALERT, "dataSet": name}, None) for name in ("dns", "audit", "l7", "waf")],
        ("vulnerabilities", {**ALERT, "dataSet": "vulnerability"}, None),
        *[
            (f"{metric} of a field", {**ALERT, "metric": metric, "field": "f", "condition": "lte"}, None)
            for metric in ("avg", "max", "min")
        ],
    ]


@pytest.mark.parametrize(("kind", "spec", "path"), parameters(CASES))
def test_each_constraint_is_kept(kind: Resource[Any], spec: dict[str, Any], path: Expected) -> None:
    judge(kind, spec, path)


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)


def test_the_webhook_consumer_may_be_spelt_as_in_the_documentation() -> None:
    """Detail 45 of the threat sheet."""
    hook = named(c.SECURITY_EVENT_WEBHOOKS, {**HOOK, "consumer": "Alertmanager", "config": ALERTS}, "x")
    admission = admit(c.SECURITY_EVENT_WEBHOOKS, hook, None)
    assert admission.errors == []
    assert admission.object["spec"]["consumer"] == "AlertManager"
