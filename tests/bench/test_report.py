from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from bench import chart, report
from bench.figures import Sample
from bench.outcome import Effort, Outcome, Target

ROUND = Sample(requests=100_000, seconds=2.0, p50_ms=1.0, p99_ms=2.0, cpu_seconds=1.5, resident_bytes=50_000_000)
OUTCOME = Outcome(
    "JSON GET",
    "what it does",
    {"Teahouse": [ROUND, ROUND], "gin <bare>": [replace(ROUND, requests=200_000), replace(ROUND, requests=125_000)]},
    targets=[Target("ahead", reached=False)],
)
NOTHING_SENT = Outcome("Start", "starts", {}, ["Ready after 0.5 s."])


def test_each_server_has_a_row_and_peers_have_ratios():
    ours, peer = report.rows(OUTCOME)
    assert ours == ("Teahouse", "50,000", "1.00", "2.00", "15.0", "75%", "50", "–", "–", "–")
    assert peer[7] == "0.65 (0.50–0.80)"


def test_the_page_holds_machine_figures_and_missed_targets():
    page = report.markdown(
        [OUTCOME, NOTHING_SENT], {"CPU": "abacus, 2 cores"}, Effort(2, 5), datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert "| CPU | abacus, 2 cores |" in page
    assert "2026-01-02" in page
    assert "| Teahouse | 50,000 |" in page
    assert "**not reached**: ahead." in page
    assert "- Ready after 0.5 s." in page


def test_the_chart_is_well_formed_and_has_a_bar_for_every_server():
    drawing = ET.fromstring(chart.svg([OUTCOME, NOTHING_SENT]))
    bars = drawing.findall("{http://www.w3.org/2000/svg}rect")
    lengths = [float(bar.attrib["width"]) for bar in bars]
    assert len(lengths) == 2
    assert lengths[0] < lengths[1]


def test_rounds_that_others_disturbed_are_named():
    loud = Outcome("Loud", "what it does", {"Teahouse": [ROUND, replace(ROUND, others=0.4)]})
    assert "1 of 2 measurements" in report.disturbance(loud)
    assert report.disturbance(OUTCOME) == ""


def test_engines_that_all_servers_have_get_columns_and_a_ratio():
    ours = replace(ROUND, engine_seconds={"Redis": 0.5, "MariaDB": 1.5})
    peer = replace(ROUND, engine_seconds={"Redis": 2.0})
    on_redis = Outcome("Purchases", "what it does", {"Teahouse": [ours], "Gin": [peer]})
    assert report.columns(on_redis)[7] == "Redis µs"
    assert report.columns(on_redis)[-1] == "Redis ×"
    first, second = report.rows(on_redis)
    assert first[7:] == ("5.0", "–", "–", "–", "–")
    assert second[7] == "20.0"
    assert second[-1] == "4.00 (4.00–4.00)"
    page = report.markdown([on_redis], {}, Effort(1, 5), datetime(2026, 1, 2, tzinfo=UTC))
    assert "| MB | Redis µs | throughput × |" in page
