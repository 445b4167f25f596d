"""Alerts and dashboard ask only for what the daemon exposes: one that names nothing is never red."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import health
from tests.support.health import NOW, write
from watcher.health.metrics import Metrics
from watcher.health.progress import Progress

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())


def _exposed() -> health.Exposed:
    """Every metric of a daemon that knows everything, as it is exposed."""
    progress = Progress()
    progress.leads(1)
    write(progress, {("shop.users", "insert"): 1})
    progress.oplog_since = NOW - 10
    text, _ = Metrics(progress, "default").exposition("")
    found: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | frozenset(sample.labels)
    return found


EXPOSED = _exposed()


def panel_expressions() -> list[tuple[str, str]]:
    """Title and expression of everything that is drawn."""
    drawn = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return drawn + [(each["name"], each["expr"]) for each in DASHBOARD["annotations"]["list"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_can_fire(rule: dict[str, Any]) -> None:
    """Its expression is one, of metrics that there are; and its words name labels that are left."""
    assert rule.keys() == {"alert", "expr", "labels", "annotations"} | ({"for"} & rule.keys())
    assert health.problems(rule["expr"], EXPOSED) == []
    if "for" in rule:
        assert promql_parser.parse_duration(rule["for"])
    texts = " ".join(rule["annotations"].values())
    assert health.templated(texts) <= health.labels_left(rule["expr"], EXPOSED)
    assert texts.count("{{") == texts.count("}}")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever it wakes finds a section of its name."""
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "remedy"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    path, _, anchor = annotations["remedy"].partition("#")
    headings = re.findall(r"^#+ `?(\w+)`?$", (ROOT / path).read_text(), re.MULTILINE)

    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_the_rule_file_has_the_form_that_prometheus_wants() -> None:
    """It refuses the whole file for one key too many."""
    whole = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())

    assert whole.keys() == {"groups"}
    assert all(group.keys() == {"name", "rules"} for group in whole["groups"])
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names)


@pytest.mark.parametrize(("title", "expression"), panel_expressions())
def test_a_panel_shows_something(title: str, expression: str) -> None:
    """An empty one looks like peace."""
    assert health.problems(expression, EXPOSED) == []
    legend = {
        label
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
        if target["expr"] == expression
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    left = health.SCRAPED | {"namespace"} if "topk" in expression else health.labels_left(expression, EXPOSED)
    assert legend <= left


def test_the_variables_of_the_dashboard_exist() -> None:
    """`label_values(metric, label)` of something that is not there leaves every panel empty."""
    asked = [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]

    assert asked
    for definition in asked:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", definition).groups()  # type: ignore[union-attr]
        assert health.problems(selector, EXPOSED) == []
        assert label in health.SCRAPED
    names = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(DASHBOARD)))
    assert used == names


def test_panels_do_not_lie_upon_each_other() -> None:
    """Grafana would move them about."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_metric_of_ours_is_documented() -> None:
    """A number nobody can read is noise."""
    documented = (ROOT / "docs/deployment.md").read_text()

    assert [name for name in EXPOSED if name.startswith("watcher_") and f"`{name}" not in documented] == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("watcher_lags_seconds > 1", "no metric watcher_lags_seconds"),
        ('watcher_lag_seconds{stream="a"}', "watcher_lag_seconds has no label stream"),
        ("sum by (stream) (watcher_leader)", "nothing here has a label stream"),
        ("sum by (job) (watcher_leader", "unclosed"),
        ("rate(watcher_gaps_total)", "expected"),
    ],
)
def test_what_is_wrong_is_found(expression: str, problem: str) -> None:
    """So that the tests above can fail."""
    (found,) = health.problems(expression, EXPOSED)

    assert problem in found
