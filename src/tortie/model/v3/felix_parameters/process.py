"""Parameters of the process: logging, health, metrics, tests. In: nothing. Out: a table for the package."""

from tortie.model.v3.felix_parameters.parameter import (
    Parameter,
    duration,
    flag,
    integer,
    port,
    regex,
    special,
    text,
    word,
)

LEVELS = ("Trace", "Debug", "Info", "Warning", "Error", "Fatal")
_CLIENT_AUTH = (
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)


def _assignments(value: str) -> str:
    """A regular expression for name=value pairs with commas, or nothing."""
    one = f"[A-Za-z0-9_-]+=({value})"
    return f"^({one}( *, *{one})*)?$"


TABLE: tuple[Parameter, ...] = (
    text(
        "nodeSelector",
        "",
        "The nodes that this object is for, by their labels. Not on default and node.<name>.",
        maxLength=1024,
    ),
    text(
        "featureDetectOverride",
        "",
        "Kernel features to take as present or absent: name=true or name=false, with commas.",
        pattern=_assignments("true|false"),
    ),
    text(
        "featureGates",
        "",
        "Features to try out before they are on for everybody: name=value, with commas.",
        pattern=_assignments("[^,=]+"),
    ),
    integer(
        "goGCThreshold",
        "40",
        "Growth of memory in percent between garbage collections; -1 for the runtime's own.",
        minimum=-1,
    ),
    integer("goMaxProcs", "-1", "How many processors may be used; -1 for all.", minimum=-1),
    integer("goMemoryLimitMB", "-1", "Soft limit of memory in MiB; -1 for none.", minimum=-1),
    flag("healthEnabled", "false", "Whether liveness and readiness are served."),
    text("healthHost", "localhost", "Address on which health is served."),
    port("healthPort", "9099", "Port on which health is served."),
    special(
        "healthTimeoutOverrides",
        "timeouts",
        "",
        "Other times than the built-in ones until a part of Felix counts as hung.",
    ),
    word("logSeverityScreen", "Info", "What is logged to standard error.", *LEVELS),
    word("logSeverityFile", "Info", "What is logged to the file logFilePath.", *LEVELS),
    word("logSeveritySys", "Info", "What is logged to syslog.", *LEVELS),
    text("logFilePath", "/var/log/calico/felix.log", "Path of the log file; none for no file.", fatal=True),
    regex("logDebugFilenameRegex", "", "Only debug messages from source files that match are logged."),
    text(
        "logPrefix",
        "calico-packet",
        "Prefix of the lines that the action Log writes; %t is the tier, %k the kind, %n the name, %p namespace/name.",
        pattern="^[A-Za-z0-9%: /_-]*$",
    ),
    text(
        "logActionRateLimit",
        "",
        "At most so many log lines for each rule with the action Log, such as 10/minute; no limit if absent.",
        pattern="^[1-9][0-9]{0,3}/(second|minute|hour|day)$",
    ),
    integer("logActionRateLimitBurst", "5", "Log lines that may exceed the limit at first.", minimum=0, maximum=9999),
    word(
        "dropActionOverride",
        "Drop",
        "For finding faults: what to do instead of dropping.",
        "Drop",
        "Accept",
        "LogAndDrop",
        "LogAndAccept",
        fatal=True,
        edition="E",
    ),
    flag("logDropActionOverride", "false", "Whether flow logs show the effect of dropActionOverride.", edition="E"),
    flag("prometheusMetricsEnabled", "false", "Whether metrics are served."),
    text("prometheusMetricsHost", "", "Address on which metrics are served; all if absent."),
    port("prometheusMetricsPort", "9091", "Port on which metrics are served."),
    text("prometheusMetricsCAFile", "", "CA certificates for clients that read metrics."),
    text("prometheusMetricsCertFile", "", "Certificate of the metrics server; TLS needs it and its key."),
    text("prometheusMetricsKeyFile", "", "Key of the metrics server."),
    word(
        "prometheusMetricsClientAuth",
        "RequireAndVerifyClientCert",
        "How clients that read metrics show who they are.",
        *_CLIENT_AUTH,
        editions=("NoClientCert", "RequireAndVerifyClientCert"),
    ),
    flag("prometheusGoMetricsEnabled", "true", "Whether metrics of the runtime are served."),
    flag("prometheusProcessMetricsEnabled", "true", "Whether metrics of the process are served."),
    flag("prometheusWireGuardMetricsEnabled", "true", "Whether metrics of WireGuard are served."),
    flag("debugDisableLogDropping", "false", "For tests: never drop log lines under load."),
    text("debugHost", "localhost", "For tests: address of the profiler."),
    port("debugPort", "", "For tests: port of the profiler; off if absent."),
    text("debugMemoryProfilePath", "", "For tests: where memory profiles are written."),
    duration("debugSimulateCalcGraphHangAfter", "0s", "For tests: hang the calculation after this time."),
    duration("debugSimulateDataplaneApplyDelay", "0s", "For tests: wait this long before each change of the kernel."),
    duration("debugSimulateDataplaneHangAfter", "0s", "For tests: hang the dataplane after this time."),
    flag("usageReportingEnabled", "true", "Accepted for compatibility. Tortie never reports usage to anybody."),
    duration("usageReportingInitialDelay", "5m", "Accepted for compatibility; without effect."),
    duration("usageReportingInterval", "24h", "Accepted for compatibility; without effect."),
    flag("endpointReportingEnabled", "false", "Whether the state of endpoints is written to etcd.", edition="O"),
    duration("endpointReportingDelay", "1s", "Least time between such reports.", edition="O"),
    duration("reportingInterval", "30s", "Time between reports that the node is alive; 0s for never."),
    duration("reportingTTL", "90s", "How long such a report is valid."),
    text("metadataAddr", "127.0.0.1", "OpenStack: address of the metadata server.", fatal=True, edition="O"),
    port("metadataPort", "8775", "OpenStack: port of the metadata server.", fatal=True, edition="O"),
    text(
        "openstackRegion",
        "",
        "OpenStack: name of the region.",
        fatal=True,
        edition="O",
        pattern="^([a-z0-9]([-a-z0-9]{0,44}[a-z0-9])?)?$",
    ),
    word(
        "awsSrcDstCheck",
        "DoNothing",
        "AWS: how to set the check of source and destination on the instance.",
        "DoNothing",
        "Enable",
        "Disable",
    ),
)
