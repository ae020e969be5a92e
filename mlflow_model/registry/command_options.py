"""The options of register.py that name a model, its file and its signature."""

import argparse
import getpass
import os
from pathlib import Path
from typing import Any

from mlflow_model import arguments
from mlflow_model.registry.store import ROOT

DEFAULT_PICKLE = ROOT / "models" / "lgbm_final_model.pkl"


def add_file(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--pickle",
        type=Path,
        default=DEFAULT_PICKLE,
        metavar="FILE",
        help="documented pickle, or a form of docs/models.md (default: models/lgbm_final_model.pkl)",
    )
    add("--threshold", type=float, help="instead of the file's optimal_threshold, if it has one")
    add("--margin", type=float, help="instead of the pickle's; 0 to min(threshold, 1 - threshold)")
    add(
        "--default-class",
        type=arguments.plain_text,
        metavar="CLASS",
        help="the class that means default, where the classes of the model are not 0 and 1",
    )


def add_signing(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--sign",
        type=Path,
        default=default,
        metavar="KEY.pem",
        help="private Ed25519 key that signs the version",
    )
    add_validity(parser, default)


def add_unsigned(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--unsigned",
        action="store_true",
        default=default,
        help="move the alias also to a version that a service with a key would refuse",
    )


def add_validity(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--valid-days",
        type=arguments.days,
        default=default,
        dest="valid_for",
        metavar="DAYS",
        help="after which the signature expires (default: never)",
    )


def operator() -> str:
    """The name of the user who runs this, or the number: a container may not know the name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def add_name(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--name",
        type=arguments.model_name,
        default=default,
        help="registered model (default: scoring-client)",
    )


def add_operator(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--by",
        type=arguments.plain_text,
        default=default,
        metavar="NAME",
        help="who does this, for the history (default: you)",
    )
