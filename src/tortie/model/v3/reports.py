"""Compliance reports: GlobalReport and GlobalReportType.

For admission and the compliance components. In: JSON of projectcalico.org/v3. Out: immutable structs; both kinds are
of the Enterprise edition (spec/resources.md 1.4, spec/compliance-threat-ui.md 1.3, 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta
from tortie.model.v3.clusters import SecretObjectReference as ObjectReference


class NamesAndLabels(ApiStruct, frozen=True, kw_only=True):
    """Both must match if both are given."""

    names: Annotated[tuple[str, ...], doc("Names, any of which may match.")] = ()
    selector: Annotated[str, doc("Selector on labels.")] = ""


class ReportEndpoints(ApiStruct, frozen=True, kw_only=True):
    selector: Annotated[str, doc("Selector on the labels of endpoints; all if absent.")] = ""
    namespaces: Annotated[NamesAndLabels | None, doc("Restricts the endpoints by namespace.")] = None
    service_accounts: Annotated[NamesAndLabels | None, doc("Restricts the endpoints by service account.")] = None


class CISBenchmarkSelection(ApiStruct, frozen=True, kw_only=True):
    kubernetes_version: Annotated[str, doc("Version of Kubernetes that the filter is for; all if absent.")] = ""


class CISResultsFilter(ApiStruct, frozen=True, kw_only=True):
    benchmark_selection: Annotated[
        CISBenchmarkSelection | None, doc("Benchmarks that the filter is for; all if absent.")
    ] = None
    include: Annotated[tuple[str, ...], doc("Numbers of the tests that count; all if absent.")] = ()
    exclude: Annotated[tuple[str, ...], doc("Numbers of the tests that do not count.")] = ()


class CISBenchmark(ApiStruct, frozen=True, kw_only=True):
    high_threshold: Annotated[int | None, doc("Percentage of passed tests from which a node is good.")] = None
    med_threshold: Annotated[int | None, doc("Percentage of passed tests from which a node is fair.")] = None
    include_unscored_tests: Annotated[bool, doc("Whether tests without a score count.")] = False
    num_failed_tests: Annotated[int | None, doc("How many of the tests that fail most often are named.", minimum=0)] = (
        None
    )
    results_filters: Annotated[tuple[CISResultsFilter, ...], doc("Which tests count.")] = ()


class GlobalReportSpec(ApiStruct, frozen=True, kw_only=True):
    report_type: Annotated[str, doc("Name of the GlobalReportType.", required=True)] = ""
    endpoints: Annotated[ReportEndpoints | None, doc("What the report is about; everything if absent.")] = None
    schedule: Annotated[
        str, doc("When an interval ends and the next begins, as cron has it, at most twice an hour.")
    ] = ""
    job_node_selector: Annotated[dict[str, str], doc("Labels of the nodes that may make the report.")] = empty_map()
    suspend: Annotated[bool, doc("Start no further reports.")] = False
    cis: Annotated[CISBenchmark | None, doc("Settings of a report on CIS benchmarks.")] = None


class ReportJob(ApiStruct, frozen=True, kw_only=True):
    start: Annotated[str | None, doc("Begin of the interval.", format="date-time", required=True)] = None
    end: Annotated[str | None, doc("End of the interval.", format="date-time", required=True)] = None
    job: Annotated[ObjectReference | None, doc("The Job that makes the report.")] = None


class CompletedReportJob(ApiStruct, frozen=True, kw_only=True):
    start: Annotated[str | None, doc("Begin of the interval.", format="date-time", required=True)] = None
    end: Annotated[str | None, doc("End of the interval.", format="date-time", required=True)] = None
    job: Annotated[ObjectReference | None, doc("The Job that made the report.")] = None
    job_completion_time: Annotated[str | None, doc("When the Job ended.", format="date-time")] = None


class GlobalReportStatus(ApiStruct, frozen=True, kw_only=True):
    last_scheduled_report_job: Annotated[ReportJob | None, doc("The latest report that was begun.")] = None
    active_report_jobs: Annotated[tuple[ReportJob, ...], doc("Reports that are being made.")] = ()
    last_failed_report_jobs: Annotated[tuple[CompletedReportJob, ...], doc("The latest reports that failed.")] = ()
    last_successful_report_jobs: Annotated[tuple[CompletedReportJob, ...], doc("The latest reports.")] = ()


class GlobalReport(Object, frozen=True, kw_only=True):
    """A compliance report that is made again and again."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalReport")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalReportSpec, doc("What is reported, and when.")] = GlobalReportSpec()
    status: Annotated[GlobalReportStatus | None, doc("Which reports were made.")] = None


class ReportTemplate(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the file that it makes; unique.")] = ""
    description: Annotated[str, doc("What the file holds.")] = ""
    template: Annotated[str, doc("The template, in the language of Go's text/template.")] = ""


class AuditResource(ApiStruct, frozen=True, kw_only=True):
    """Empty fields match everything."""

    api_group: Annotated[str, doc("Group of the objects.")] = ""
    api_version: Annotated[str, doc("Version of the objects.")] = ""
    resource: Annotated[str, doc("Plural of the kind.")] = ""
    name: Annotated[str, doc("Name of the object.")] = ""
    namespace: Annotated[str, doc("Namespace of the object.")] = ""


class AuditEventsSelection(ApiStruct, frozen=True, kw_only=True):
    resources: Annotated[tuple[AuditResource, ...], doc("Objects whose changes are reported.")] = ()


class GlobalReportTypeSpec(ApiStruct, frozen=True, kw_only=True):
    ui_summary_template: Annotated[ReportTemplate, doc("Makes the summary that the console shows.")] = ReportTemplate()
    download_templates: Annotated[tuple[ReportTemplate, ...], doc("Make the files of the report.")] = ()
    include_endpoint_data: Annotated[bool, doc("Whether the report has endpoints.")] = False
    include_endpoint_flow_log_data: Annotated[bool, doc("Whether it has traffic between endpoints.")] = False
    audit_events_selection: Annotated[
        AuditEventsSelection | None, doc("Which audit events the report has; none if absent.")
    ] = None
    include_cis_benchmark_data: Annotated[bool, doc("Whether it has results of CIS benchmarks.")] = False


class GlobalReportType(Object, frozen=True, kw_only=True):
    """What reports of a type hold and what they look like."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalReportType")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GlobalReportTypeSpec, doc("Contents and templates.")] = GlobalReportTypeSpec()
