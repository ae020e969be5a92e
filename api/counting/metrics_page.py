"""GET /metrics: what all processes have counted, and what this one knows of its model, for Prometheus."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from api.counting.counts import SCREENED, UNSCREENED, Counts, Histogram, Key
from api.counting.tally import Tally
from api.delivery.served import ServedModel
from api.paths import BATCH, PREDICT
from api.recording import last_checkpoint
from api.recording.records import OFF, WRITABLE
from mlflow_model.errors import ModelUnavailable

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Checkpoints(NamedTuple):
    """Where the service puts them, and how many seconds lie between two."""

    folder: Path
    interval: float


def page(tally: Tally, served: ServedModel, journal: str, checkpoints: Checkpoints | None) -> bytes:
    """The text that Prometheus reads. `journal`: its state. `checkpoints`: None where none are made."""
    registry = CollectorRegistry()
    registry.register(_Collected(tally.total(), served, journal, checkpoints))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(
        self, counts: Counts, served: ServedModel, journal: str, checkpoints: Checkpoints | None
    ) -> None:
        self._counts, self._served = counts, served
        self._journal, self._checkpoints = journal, checkpoints

    def collect(self) -> Iterator[Metric]:
        counts, news = self._counts, self._served.news
        answers = {key: sum(histogram.counts) for key, histogram in counts.seconds.items()}
        yield _counter("scoring_requests", "Answers, by path and status.", ("path", "status"), answers)
        yield _histogram(
            "scoring_request_duration_seconds",
            "From the whole request to its answer.",
            ("path", "status"),
            counts.seconds,
        )
        yield _counter(
            "scoring_decisions", "Clients decided on.", ("version", "prediction"), counts.decisions
        )
        yield _histogram(
            "scoring_default_probability", "Default probabilities.", ("version",), counts.probabilities
        )
        yield _counter("scoring_nulls", "Clients with null for a feature.", ("feature",), counts.nulls)
        yield from self._receipts()
        yield from self._warnings()
        yield _counter(
            "scoring_shadow_comparisons",
            "Clients that the challenger decided on too, by both versions and their labels.",
            ("version", "prediction", "challenger", "challenger_prediction"),
            counts.compared_with,
        )
        yield _counter("scoring_model_refusals", "Versions that were refused.", (), {(): news.refusals})
        if news.looked_at is not None:
            age = time.monotonic() - news.looked_at
            yield _gauge("scoring_registry_age_seconds", "Since the registry last answered.", (), {(): age})
        doubtful = int(news.problem is not None)
        yield _gauge("scoring_model_doubtful", "1: another model is wanted.", (), {(): doubtful})
        yield from self._model()

    def _receipts(self) -> Iterator[Metric]:
        counts, by_path = self._counts, ("path",)
        yield _counter("scoring_receipts", "Receipts that are on the disk.", by_path, counts.receipts)
        yield _histogram(
            "scoring_receipt_commit_seconds",
            "From the decisions of a group to their receipts on the disk.",
            by_path,
            counts.commits,
        )
        meaning = "Receipts that are not known to be on the disk."
        yield _gauge("scoring_receipts_waiting", meaning, (), {(): counts.receipts_waiting})
        if self._journal != OFF:
            meaning = "1: the journal can be written, as far as this worker knows."
            yield _gauge("scoring_journal_writable", meaning, (), {(): int(self._journal == WRITABLE)})
        if self._checkpoints:
            meaning = "When the last checkpoint of the journal was signed, since 1970; 0: there is none."
            signed = last_checkpoint.time_in(self._checkpoints.folder)
            yield _gauge("scoring_last_checkpoint_timestamp_seconds", meaning, (), {(): signed})
            meaning = "Between two checkpoints of the journal."
            every = self._checkpoints.interval
            yield _gauge("scoring_checkpoint_interval_seconds", meaning, (), {(): every})
        meaning = "Decisions that were computed and not answered: their receipts could not be written."
        # From 0 on: Prometheus sees no increase in a series that begins with the first fault.
        none = dict.fromkeys([(PREDICT.path,), (BATCH.path,)], 0)
        yield _counter("scoring_decisions_unanswered", meaning, by_path, none | counts.unanswered)
        meaning = "Requests refused before anything was decided: the journal could not be written."
        yield _counter("scoring_decisions_not_recorded", meaning, by_path, none | counts.refused_unrecorded)

    def _warnings(self) -> Iterator[Metric]:
        meaning = "Clients with a warning, of those who were screened."
        yield _counter("scoring_warnings", meaning, ("code", "feature"), self._counts.warnings)
        screened, unscreened = (self._counts.screenings[one,] for one in (SCREENED, UNSCREENED))
        yield _counter("scoring_decisions_screened", "Clients screened for warnings.", (), {(): screened})
        yield _counter("scoring_decisions_unscreened", "Clients not screened.", (), {(): unscreened})

    def _model(self) -> Iterator[Metric]:
        try:
            model = self._served.model
        except ModelUnavailable:
            yield _gauge("scoring_model_loaded", "1: there is a model.", (), {(): 0})
            return
        yield _gauge("scoring_model_loaded", "1: there is a model.", (), {(): 1})
        confirmed = int(model.confirmed)
        yield _gauge("scoring_model_confirmed", "1: the registry named it.", (), {(): confirmed})
        named = (model.name, model.version or "", model.alias or "", model.digest)
        labels = ("name", "version", "alias", "digest")
        yield _gauge("scoring_model_info", "The model that this worker serves.", labels, {named: 1})


def _counter(name: str, meaning: str, labels: Key, counts: Mapping[Key, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for key, count in sorted(counts.items()):
        family.add_metric(key, count)
    return family


def _gauge(name: str, meaning: str, labels: Key, values: Mapping[Key, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, meaning: str, labels: Key, histograms: Mapping[Key, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for key, histogram in sorted(histograms.items()):
        buckets, below = [], 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(below)))
        family.add_metric(key, buckets, histogram.total)
    return family
