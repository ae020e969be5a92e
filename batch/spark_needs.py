"""What `--engine spark` needs, and what it cannot do: said before anything is read."""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

from batch import formats
from batch.errors import Refused
from batch.raw_input import STANDARD
from mlflow_model import command, machine

HERE, SPARK = "here", "spark"
MASTER = "local[*]"
OLDEST_JAVA = 17
_JAVA_SECONDS = 60.0
_INSTALL = "python -m pip install -r requirements-spark.txt --require-hashes"


def check(options: argparse.Namespace) -> None:
    """Raises Refused for an option that Spark has no way for, or if pyspark or Java is not there."""
    if options.engine != SPARK:
        if options.master is not None:
            raise Refused("--master is for --engine spark")
        return
    _check_options(options)
    if machine.missing_packages("pyspark"):
        raise Refused(command.named_here(f"--engine spark needs pyspark, which is not installed: {_INSTALL}"))
    _check_java()
    _check_python(options.master or MASTER)


def _check_options(options: argparse.Namespace) -> None:
    if options.explain:
        raise Refused("--explain is not for --engine spark: explain the clients that matter without it")
    if options.features_from is not None:
        raise Refused("--features-from is not for --engine spark: score what it makes, or leave Spark out")
    if options.threads is not None:
        raise Refused("--threads is not for --engine spark: --master local[N] says how many")
    if options.input == STANDARD:
        raise Refused("--input - is not for --engine spark: name files that all machines see")
    if not options.output.endswith(os.sep):
        raise Refused("--engine spark writes a folder of parts: end the name of --output with /")
    if options.output_format not in (None, formats.PARQUET):
        raise Refused("--output-format must be parquet with --engine spark")
    if options.input_format not in (None, formats.PARQUET, formats.CSV):
        raise Refused("--input-format must be parquet or csv with --engine spark")


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        raise Refused(f"Spark needs Java {OLDEST_JAVA} or newer, and there is none: name one by JAVA_HOME")
    try:
        said = subprocess.run(  # noqa: S603 - the Java that Spark would start, too
            [java, "-version"], capture_output=True, text=True, check=True, timeout=_JAVA_SECONDS
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise Refused(f"Spark needs Java {OLDEST_JAVA} or newer, and {java} does not run") from error
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said)
    number = 0 if found is None else int((found[2] or 0) if found[1] == "1" else found[1])
    if number < OLDEST_JAVA:
        raise Refused(f"Spark needs Java {OLDEST_JAVA} or newer, and {java} is {number or 'another one'}")


def _check_python(master: str) -> None:
    """Of executors on this machine; others may have it where this one has not."""
    python = os.environ.get("PYSPARK_PYTHON")
    if python and master.startswith("local") and shutil.which(python) is None:
        raise Refused(f"PYSPARK_PYTHON names {python}, which is no program here: correct or unset it")
