"""`python -m batch score`, from its options to its exit code."""

import argparse
import contextlib
import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batch import (
    deciding,
    destinations,
    explaining,
    feasible,
    features_file,
    formats,
    receipt,
    spark_needs,
    summary,
    temporary,
    tracking,
    version,
    writers,
)
from batch.arriving import ArrivingFile, part_of, writing
from batch.errors import Refused
from batch.inputs import Inputs
from batch.outputs import (
    STATE,
    FileOutput,
    Finished,
    FolderOutput,
    Output,
    StandardOutput,
    WrittenHere,
    digest_of_several,
    note,
)
from batch.progress import Progress
from batch.quarantine import Quarantine
from batch.raw_input import STANDARD
from batch.run import Run
from batch.spark_output import SparkFolder
from batch.summary import Counts
from batch.version import Version
from batch.writers import UNDECODED
from journal.code_version import code_version
from mlflow_model import command, machine
from mlflow_model.bundle.decision_columns import NotADecision
from mlflow_model.bundle.scoring import Scorer

if TYPE_CHECKING:
    from journal.store import Journal

_SHOWN = "shown in MLflow"


def score(options: argparse.Namespace) -> None:
    """Score the input into the output, or raise Refused or ModelUnavailable."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # LightGBM's, which the threads of a run share out
    feasible.check(options)
    with command.terminable(), receipt.opened() as journal:
        found = version.of(options.model)
        with (
            _inputs(options, found.scorer) as inputs,
        ):
            _Scoring(options, found, inputs).run(journal)


@contextlib.contextmanager
def _inputs(options: argparse.Namespace, scorer: Scorer) -> Iterator[Inputs]:
    """What is read: with --features-from a file that lasts as long as the run."""
    if options.features_from is None:
        with contextlib.closing(Inputs(options.input, options.input_format, scorer.features)) as inputs:
            yield inputs
        return
    with temporary.folder("features-") as place:
        file = place / "features.arrow"
        features_file.make(options.features_from, file, scorer.features)
        called = f"the features of {options.features_from}"
        with contextlib.closing(Inputs(str(file), formats.ARROW, scorer.features, called)) as inputs:
            yield inputs


class _Scoring:
    """One run. What it has begun to write is removed, or kept for another run, whatever ends it."""

    def __init__(self, options: argparse.Namespace, found: Version, inputs: Inputs) -> None:
        self._options, self._version, self._inputs = options, found, inputs
        self._began = time.monotonic()
        self._columns = _columns(inputs.schema, found, options.explain)
        self._output: Output | None = None
        self._quarantine: Quarantine | None = None
        self._summary: ArrivingFile | None = None
        self._chunks, self._counts, self._costs = 0, Counts(), summary.costs_of(found.bundle)

    def run(self, journal: "Journal | None") -> None:
        """Raises Refused."""
        _check_apart(self._options, self._inputs)
        try:
            self._output, decide = self._opened_output()
        except Finished as ended:
            self._tell_again(ended.record)
            return
        try:
            decide()
            if not self._counts.clients + self._counts.set_aside:
                raise Refused(f"{self._options.features_from or self._options.input} holds no client")
            self._finish(self._output, journal)
        except BaseException as error:
            is_published = self._output is None
            self._abandon(isinstance(error, KeyboardInterrupt))
            if isinstance(error, Refused) and not is_published:
                self._inputs.check_unchanged()  # which would be the true reason
            raise

    def _begin(self, state: Mapping[str, Any]) -> None:
        """`state`: of the run that this one goes on with, or empty."""
        quarantine = self._take_up(state) if state else {}
        if self._options.quarantine is not None:
            self._quarantine = Quarantine(self._options.quarantine, self._inputs, quarantine)
        if self._options.summary is not None:  # now: at the end all work would be lost
            self._summary = ArrivingFile(self._options.summary)

    def _take_up(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Chunks and counts of another run. Returns the state of its quarantine. Raises Refused."""
        try:
            self._chunks, self._counts = int(state["chunks"]), Counts.of_state(state["counts"])
            if self._chunks < 0:
                raise ValueError("no number of chunks")
            return {**state["quarantine"]}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Refused("what the run before has left is damaged: remove it, and begin anew") from None

    def _tell_again(self, record: Mapping[str, Any]) -> None:
        """Of a run that has ended: what may have failed after its output had its name. Raises Refused."""
        options, state = self._options, record["state"]
        quarantine = self._take_up(state)
        if options.quarantine is not None:
            Quarantine.check_whole(options.quarantine, quarantine)
        say(f"{options.output} is there already, whole: of this input, model and code")
        digests = self._inputs.digest(), digest_of_several(record["digests"])
        told = self._told(digests, state.get("seconds", 0.0))
        if options.summary is not None:
            self._summary = ArrivingFile(options.summary)
            try:
                self._write_summary(told)
                self._summary.publish()
            except BaseException:
                self._summary.abandon()
                raise
        if options.log and not record.get(_SHOWN):
            self._show(told)

    def _abandon(self, is_interrupted: bool) -> None:
        if self._output is None:
            return
        self._output.abandon()
        if self._quarantine is not None:
            self._quarantine.abandon(keep=self._output.has_parts)
        if self._summary is not None:
            self._summary.abandon()
        if is_interrupted or self._output.has_parts:
            say(f"{'Interrupted' if is_interrupted else 'Not finished'}: {self._output.left()}")

    def _decide(self, output: WrittenHere) -> None:
        self._begin(output.state)
        options = self._options
        allows_bad, found = self._quarantine is not None, self._version
        threads = options.threads or machine.cores()
        run = Run(found.scorer, self._columns, allows_bad, threads, options.explain, self._costs)
        with Progress(self._counts.clients) as progress:
            decided = run.decided(self._inputs.chunks(self._chunks))
            with contextlib.closing(decided):
                for one in decided:
                    self._counts.add(one.counts)
                    self._chunks += one.chunks
                    if self._quarantine is not None:
                        self._quarantine.add(one.file, one.bad)
                    output.write(one.batch, self._state)
                    progress.show(len(one.batch) + len(one.bad), self._inputs.share())

    def _have_spark_decide(self, output: SparkFolder) -> None:
        from batch import spark  # Spark's package, which few have

        self._begin({})
        if sys.stderr.isatty():
            say("Starting Spark: this takes half a minute")
        self._counts = spark.decide(
            self._options.master, self._version, self._inputs, self._columns, output, self._quarantine
        )

    def _finish(self, output: Output, journal: "Journal | None") -> None:
        """The receipt comes when all else is on the disk, and before the output appears: no decision is given
        away without one."""
        digests = self._inputs.digest(), output.sealed(self._state)
        told = self._told(digests, self._seconds())
        self._write_summary(told)
        receipt.write(journal, self._version, digests, self._counts)
        for one in (self._summary, self._quarantine, output):
            if one is not None:
                one.publish()
        self._output = None  # nothing is left to abandon, whatever comes
        for line in summary.lines(told):
            say(line)
        if self._options.log:
            self._show(told)

    def _write_summary(self, told: Mapping[str, Any]) -> None:
        if self._summary is None:
            return
        with writing(self._summary.path):
            self._summary.stream.write(
                f"{json.dumps(told, ensure_ascii=False, indent=1)}\n".encode(errors=UNDECODED)
            )
        self._summary.settle()

    def _show(self, told: Mapping[str, Any]) -> None:
        """In MLflow, and note in the folder that it is shown, so that a repetition does not show it again."""
        try:
            if sys.stderr.isatty():
                say("Showing the run in MLflow: this takes some seconds")
            say(f"its run in MLflow: {tracking.log(told, self._version.scorer.policy)}")
        except KeyboardInterrupt:
            say(f"Interrupted: {self._options.output} is whole, but the run is not shown in MLflow")
            raise
        folder = Path(self._options.output)
        if (folder / STATE).is_file():
            with contextlib.suppress(Refused):  # it would be shown twice, which is no harm
                note(folder, _SHOWN)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _state(self) -> dict[str, Any]:
        quarantine = {} if self._quarantine is None else self._quarantine.state()
        return {
            "chunks": self._chunks,
            "counts": self._counts.state(),
            "quarantine": quarantine,
            "seconds": self._seconds(),
        }

    def _told(self, digests: tuple[str, str], seconds: float) -> dict[str, Any]:
        found, options = self._version, self._options
        return {
            "model": {"name": found.name, "version": found.number, "digest": found.digest},
            "code": code_version(),
            "input": {
                "name": str(options.features_from or options.input),
                "files": len(self._inputs.paths),
                "sha256": digests[0],
            },
            "output": {"name": options.output, "sha256": digests[1]},
            "quarantine": None if options.quarantine is None else str(options.quarantine),
            "counts": self._counts.state(),
            "costs": None if self._costs is None else asdict(self._costs),
            "seconds": seconds,
        }

    def _opened_output(self) -> tuple[Output, Callable[[], None]]:
        """The output, and what decides on the clients and fills it."""
        options = self._options
        if options.engine == spark_needs.SPARK:
            of = self._identity(formats.PARQUET)
            parts = SparkFolder(Path(options.output), of, resume=options.resume)
            return parts, functools.partial(self._have_spark_decide, parts)
        output = self._opened_here()
        return output, functools.partial(self._decide, output)

    def _opened_here(self) -> WrittenHere:
        options = self._options
        is_folder = destinations.is_folder(options.output)
        default = formats.PARQUET if is_folder else None
        if options.output == STANDARD and not options.output_format:
            default = _of_stream(options)
        form = formats.of_name(options.output, options.output_format or default, formats.OUTPUT_OPTION)
        decided = len(self._columns) - len(self._inputs.schema)
        make = functools.partial(_writer, form, self._columns, decided, self._inputs.dialect)
        if options.output == STANDARD:
            return StandardOutput(make)
        if not is_folder:
            return FileOutput(Path(options.output), make)
        return FolderOutput(
            Path(options.output), make, f".{form}", self._identity(form), resume=options.resume
        )

    def _identity(self, form: str) -> Mapping[str, str]:
        """What must be the same for a run to go on, as a sentence names it."""
        if not self._inputs.are_files:
            if self._options.resume:
                raise Refused("--resume needs an input of files: standard input cannot be read again")
            return {}
        return {
            "input": self._inputs.digest(),
            "model": self._version.digest,
            "code": code_version(),
            "output format": form,
            "--bad-rows": "fail" if self._options.quarantine is None else "quarantine",
            "--explain": str(self._options.explain),
            "--engine": self._options.engine,
        }


def _of_stream(options: argparse.Namespace) -> str | None:
    """The format of standard output, where it is not told: as the input comes."""
    if options.features_from is not None:
        return formats.ARROW_STREAM
    form = formats.of_name(options.input, options.input_format, formats.INPUT_OPTION)
    return formats.ARROW_STREAM if form == formats.ARROW else form


def _columns(passed_through: pa.Schema, found: Version, reasons: int) -> pa.Schema:
    """Those that come out. Raises Refused."""
    if reasons and not explaining.can_explain(found.scorer):
        raise Refused(f"{found.name} cannot explain its decisions: leave out --explain, or take another")
    try:
        columns = deciding.schema(passed_through, found.bundle, found.scorer)
    except NotADecision as error:
        raise Refused("the version answers with something that is no decision") from error
    columns = pa.schema([*columns, *explaining.fields(reasons)])
    added = columns.names[len(passed_through) :]
    if taken := [name for name in passed_through.names if name in added]:
        raise Refused(f"column {taken[0]} of the input is one that the decision adds: rename it")
    return columns


def _writer(form: str, columns: pa.Schema, decided: int, dialect: Any, stream: Any) -> writers.Writer:
    return writers.of_format(form, stream, columns, decided, dialect)


def _check_apart(options: argparse.Namespace, inputs: Inputs) -> None:
    """Raises Refused where a file would be written over one that is read, or over another one."""
    output, *others = [Path(one) for one in (options.output, options.quarantine, options.summary) if one]
    beside = [] if options.output == STANDARD else _both_names(output)
    taken = {_real(path) for path in inputs.paths if path is not None}
    around = set(itertools.chain.from_iterable(one.parents for one in taken))
    for written in [*beside, *itertools.chain.from_iterable(map(_both_names, others))]:
        if written in taken or written in around or not taken.isdisjoint(written.parents):
            raise Refused(f"{written.name} would be written over the input, or twice: name another file")
        taken.add(written)
        around.update(written.parents)


def _both_names(path: Path) -> list[Path]:
    """Of a file on its way, and when it is whole."""
    return [_real(path), _real(part_of(path))]


def _real(path: Path) -> Path:
    """As `Path.resolve`, which refuses links that lead to themselves."""
    return Path(os.path.realpath(path))


def say(message: str) -> None:
    """One line, whatever a file is called."""
    sys.stderr.write(f"{command.printable(command.named_here(message))}\n")
    sys.stderr.flush()
