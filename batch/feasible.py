"""Whether a run can be: all that can be told before the model is there, which takes seconds."""

import argparse
from pathlib import Path

from batch import destinations, formats, raw_input, spark_needs, tracking
from batch.errors import Refused
from batch.raw_input import STANDARD


def check(options: argparse.Namespace) -> None:
    """Raises Refused."""
    spark_needs.check(options)
    destinations.check(
        options.output, (("--bad-rows quarantine", options.quarantine), ("--summary", options.summary))
    )
    if options.log:
        tracking.check()
    _check_input(options)
    is_folder = destinations.is_folder(options.output)
    if options.resume and not is_folder:
        raise Refused("--resume needs a folder as output, whose parts it goes on from: end its name with /")
    if options.output != STANDARD and not is_folder:
        formats.of_name(options.output, options.output_format, formats.OUTPUT_OPTION)


def _check_input(options: argparse.Namespace) -> None:
    if options.features_from is not None:
        if not Path(options.features_from).is_dir():
            raise Refused(f"{options.features_from} is not a folder")
        return
    for path in formats.files(options.input, options.input_format):
        raw_input.opened(path).close()
        formats.of_name(STANDARD if path is None else str(path), options.input_format, formats.INPUT_OPTION)
