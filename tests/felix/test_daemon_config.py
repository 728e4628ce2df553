"""Felix's parameters: which source wins, what a bad value does, and which changes need a restart."""

from pathlib import Path

import pytest

from tortie.felix.config import Effective, Source, difference, merge, read_environment, read_file
from tortie.felix.settings import Settings
from tortie.model.dataplane import (
    ClusterInfoKey,
    ConfigValues,
    FelixConfigKey,
    Key,
    Node,
    NodeKey,
    Update,
    Value,
)
from tortie.model.v3.felix_parameters.values import parse_timeouts
from tortie.service.run import Fatal


def environment(**values: str) -> Source:
    return read_environment({f"FELIX_{name}": text for name, text in values.items()})


def settings(*local: Source) -> Settings:
    return Settings(list(local), node="n1")


def configuration(name: str, *, selector: str = "", created: str = "", **values: str) -> tuple[Key, Value]:
    return FelixConfigKey(name), ConfigValues(values=values, node_selector=selector, created=created)


def effective(made: Settings, *objects: tuple[Key, Value | None]) -> Effective:
    for key, value in objects:
        made.take(Update(key, value))
    return made.settle()


# --- precedence ----------------------------------------------------------------------------------------------------


def test_the_environment_beats_the_file_beats_the_node_beats_a_selector_beats_the_default_beats_the_builtin() -> None:
    layers: list[tuple[Source | None, tuple[Key, Value] | None, str]] = [
        (None, None, "calico-packet"),
        (None, configuration("default", LogPrefix="default"), "default"),
        (None, configuration("zone-a", selector="zone == 'a'", LogPrefix="selector"), "selector"),
        (None, configuration("node.n1", LogPrefix="node"), "node"),
        (Source("file", {"logprefix": "file"}, local=True), None, "file"),
        (environment(LOGPREFIX="environment"), None, "environment"),
    ]
    for depth in range(len(layers)):
        used = layers[: depth + 1]
        local = [source for source, _, _ in reversed(used) if source is not None]
        objects: list[tuple[Key, Value | None]] = [made for _, made, _ in used if made is not None]
        found = effective(settings(*local), (NodeKey("n1"), Node(labels={"zone": "a"})), *objects)
        assert found.text("LogPrefix") == layers[depth][2]


def test_names_ignore_case_in_the_environment_and_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "felix.cfg"
    path.write_text("loGPreFIX = from-file\n[any section]\nMetadataAddr=1.2.3.4\n")
    found = merge([read_environment({"FELIX_vxlanport": "4790", "felix_VXLANVNI": "7"}), read_file(path)])
    assert found.text("VXLANPort") == "4790"
    assert found.integer("vxlanVNI") == 7
    assert found.text("LogPrefix") == "from-file"
    assert found.text("MetadataAddr") == "1.2.3.4"


def test_no_file_is_no_values_and_an_unreadable_one_stops_felix(tmp_path: Path) -> None:
    assert read_file(tmp_path / "none.cfg").values == {}
    broken = tmp_path / "felix.cfg"
    broken.write_text("[section\nnot a line")
    with pytest.raises(Fatal, match=r"felix\.cfg"):
        read_file(broken)


def test_an_empty_value_is_not_set() -> None:
    found = effective(settings(environment(LOGPREFIX="  ")), configuration("default", LogPrefix="stored"))
    assert found.text("LogPrefix") == "stored"


def test_none_means_the_zero_value() -> None:
    found = merge(
        [environment(LOGPREFIX="none", REMOVEEXTERNALROUTES="None", VXLANMTU="NONE", ROUTEREFRESHINTERVAL="none")]
    )
    assert found.text("LogPrefix") == ""
    assert found.boolean("RemoveExternalRoutes") is False
    assert found.integer("VXLANMTU") == 0
    assert found.seconds("RouteRefreshInterval") == 0.0


def test_none_is_refused_where_zero_makes_no_sense() -> None:
    with pytest.raises(Fatal, match="Drop, Accept, Return"):
        merge([environment(DEFAULTENDPOINTTOHOSTACTION="none")])


@pytest.mark.parametrize("text", ["90", "90s", "1m30s"])
def test_durations_are_seconds_or_durations(text: str) -> None:
    assert merge([environment(ROUTEREFRESHINTERVAL=text)]).seconds("RouteRefreshInterval") == 90.0


def test_an_unset_duration_has_its_default_in_seconds() -> None:
    assert merge([]).seconds("NftablesRefreshInterval") == 180.0


def test_enumerations_ignore_case() -> None:
    assert merge([environment(DEFAULTENDPOINTTOHOSTACTION="ACCEPT")]).text("DefaultEndpointToHostAction") == "Accept"


# --- bad values ----------------------------------------------------------------------------------------------------


def test_a_bad_value_falls_back_to_the_default_not_to_a_lower_source() -> None:
    found = effective(settings(environment(VXLANPORT="many")), configuration("default", VXLANPort="4800"))
    assert found.text("VXLANPort") == "4789"
    [problem] = found.problems
    assert "VxlanPort='many' in environment is not a whole number" in problem
    assert "4789" in problem


def test_a_number_out_of_range_is_a_bad_value() -> None:
    found = merge([environment(HEALTHPORT="70000")])
    assert found.integer("HealthPort") == 9099
    assert "65535" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FAILSAFEINBOUNDHOSTPORTS", "tcp:ssh"),
        ("DEFAULTENDPOINTTOHOSTACTION", "maybe"),
        ("NFTABLESMARKMASK", "all"),
    ],
)
def test_a_bad_value_of_a_vital_parameter_stops_felix(name: str, text: str) -> None:
    if name == "NFTABLESMARKMASK":
        assert merge([environment(**{name: text})]).problems
        return
    with pytest.raises(Fatal, match=text):
        merge([environment(**{name: text})])


def test_unknown_names_are_reported_and_ignored() -> None:
    found = merge([environment(COLOUR="tortoiseshell")])
    assert found.values == {}
    assert "no such parameter" in found.problems[0]


def test_the_datastore_may_not_set_how_it_is_reached_itself() -> None:
    found = effective(settings(environment(TYPHAADDR="a:1")), configuration("default", FelixHostname="other"))
    assert "felixhostname" not in found.values
    assert found.values["typhaaddr"] == "a:1"
    assert any("only the environment" in problem for problem in found.problems)


# --- configurations with a selector --------------------------------------------------------------------------------


def test_of_several_matching_configurations_the_oldest_counts_then_the_first_by_name() -> None:
    node = (NodeKey("n1"), Node(labels={"zone": "a"}))
    young = configuration("aaa", selector="has(zone)", created="2026-02-01T00:00:00Z", LogPrefix="young")
    old = configuration("zzz", selector="has(zone)", created="2026-01-01T00:00:00Z", LogPrefix="old")
    twin = configuration("yyy", selector="has(zone)", created="2026-01-01T00:00:00Z", LogPrefix="twin")
    elsewhere = configuration("bbb", selector="zone == 'b'", created="2020-01-01T00:00:00Z", LogPrefix="elsewhere")
    assert effective(settings(), node, young, old, elsewhere).text("LogPrefix") == "old"
    assert effective(settings(), node, young, old, twin).text("LogPrefix") == "twin"


def test_a_configuration_without_a_selector_or_for_another_node_does_not_count() -> None:
    found = effective(settings(), configuration("stray", LogPrefix="x"), configuration("node.n2", LogPrefix="y"))
    assert found.text("LogPrefix") == "calico-packet"


# --- changes -------------------------------------------------------------------------------------------------------


def test_a_change_of_an_effective_value_asks_for_a_restart() -> None:
    made = settings()
    effective(made, configuration("default", LogPrefix="a"))
    made.take(Update(*configuration("default", LogPrefix="b")))
    decision = made.decide()
    assert decision.action == "restart"
    assert decision.reason == "changed: logprefix"
    assert made.decide().action == "nothing"


def test_a_change_that_a_higher_source_masks_is_no_change() -> None:
    made = settings(environment(LOGPREFIX="mine"))
    effective(made, configuration("default", LogPrefix="a"))
    made.take(Update(*configuration("default", LogPrefix="b")))
    assert made.decide().action == "nothing"


def test_setting_a_parameter_to_its_default_is_no_change() -> None:
    made = settings()
    effective(made)
    made.take(Update(*configuration("default", VXLANPort="4789", NftablesRefreshInterval="180")))
    assert made.decide().action == "nothing"


def test_what_identifies_the_cluster_changes_live() -> None:
    made = settings()
    effective(made, (ClusterInfoKey("default"), ConfigValues(values={"ClusterGUID": "1"})))
    made.take(Update(ClusterInfoKey("default"), ConfigValues(values={"ClusterGUID": "2", "CalicoVersion": "v4"})))
    assert made.decide().action == "live"


def test_a_label_that_makes_another_configuration_match_asks_for_a_restart() -> None:
    made = settings()
    effective(made, configuration("zone-a", selector="zone == 'a'", LogPrefix="zoned"), (NodeKey("n1"), Node()))
    made.take(Update(NodeKey("n1"), Node(labels={"other": "x"})))
    assert made.decide().action == "nothing"
    made.take(Update(NodeKey("n1"), Node(labels={"zone": "a"})))
    assert made.decide().action == "restart"


def test_a_datastore_that_is_not_ready_is_waited_for_and_later_left() -> None:
    made = settings()
    made.take(Update(ClusterInfoKey("default"), ConfigValues(values={"DatastoreReady": "false"})))
    assert not made.datastore_ready
    made.take(Update(ClusterInfoKey("default"), ConfigValues(values={"DatastoreReady": "true"})))
    assert made.datastore_ready
    made.settle()
    made.take(Update(ClusterInfoKey("default"), ConfigValues(values={"DatastoreReady": "false"})))
    assert made.decide().action == "restart"


def test_difference_compares_what_is_in_effect() -> None:
    assert difference(merge([environment(VXLANMTU="0")]), merge([])) == []
    assert difference(merge([environment(VXLANMTU="1400")]), merge([])) == ["vxlanmtu"]


def test_health_timeouts_are_read_by_reporter() -> None:
    assert parse_timeouts("CalculationGraph=60s,InternalDataplaneMainLoop=1m30s") == {
        "CalculationGraph": 60.0,
        "InternalDataplaneMainLoop": 90.0,
    }
    with pytest.raises(ValueError, match="Name=duration"):
        parse_timeouts("CalculationGraph")
