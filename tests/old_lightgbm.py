"""Texts and pickles as earlier versions of LightGBM wrote them, spelt as bytes."""

import pickle
import re

import lightgbm

from tests.model_zoo import booster, document


def of_lightgbm_3() -> bytes:
    """As LightGBM 3 pickled a classifier: its text lies under « handle »."""
    raw = pickle.dumps(document(), 3)
    name = b"X\x07\x00\x00\x00_handle"
    assert raw.count(name) == 1
    return raw.replace(name, b"X\x06\x00\x00\x00handle")


def text(version: str, model: lightgbm.Booster | None = None) -> bytes:
    """The text of a model as LightGBM of this version wrote it: rewritten for all but 4.

    What each wrote was read once in texts that the releases of PyPI wrote of CLIENTS: 2.0.5, 2.0.10, 2.0.11,
    2.0.12, 2.1.0, 2.2.3 and 2.3.1. 2.1 is also 2.0.12. Only the sources of
    https://github.com/microsoft/LightGBM/blob/1bade947fdd2019ca8af46c6efddea0359e62e60/src/boosting/gbdt_model.cpp
    soon after show « 2.0.12 without sizes », which no release wrote.
    """
    written = (model or booster()).model_to_string()
    if version == "4":
        return written.encode()
    is_v2 = version.startswith(("2.0", "2.1", "2.2"))
    written = written.replace("version=v4", "version=v2" if is_v2 else "version=v3")
    dropped = "is_linear|leaf_weight|internal_weight" if is_v2 else "is_linear"
    written = re.sub(rf"(?m)^(?:{dropped})=.*\n", "", written)
    if version != "3.0":
        written = written.replace("feature_importances", "feature importances")
    written = _resized(written)
    return (_before_2_2(written, version) if version.startswith(("2.0", "2.1")) else written).encode()


def _resized(written: str) -> str:
    body = re.split(r"(?=^Tree=)", written, flags=re.MULTILINE)[1:]
    body[-1] = body[-1].partition("\n\n\n")[0] + "\n\n\n"
    sizes = " ".join(str(len(tree)) for tree in body)
    return re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", written)


def _before_2_2(written: str, version: str) -> str:
    """Without what LightGBM did not write yet."""
    written = written.replace("end of trees\n", "")
    written = re.sub(r"(?s)\nparameters:\n.*\nend of parameters\n", "", written).rstrip("\n")
    if version == "2.1":
        return written
    dropped = "tree_sizes" if version == "2.0.12 without sizes" else "tree_sizes|version"
    written = re.sub(rf"(?m)^(?:{dropped})=.*\n", "", written)
    return _with_parents(written) if version == "2.0.5" else written


def _with_parents(written: str) -> str:
    """With the split above each leaf, which LightGBM wrote until it left it out as not needed."""
    return re.sub(
        r"(?m)^leaf_value=(.*)$", lambda line: f"leaf_parent={_any(line[1])}\nleaf_value={line[1]}", written
    )


def _any(values: str) -> str:
    return " ".join("0" for _ in values.split(" "))


def text_of_the_first_2() -> bytes:
    """As LightGBM 2.0.2 and 2.0.4 wrote it: before `num_cat`, without which LightGBM 4 reads no tree."""
    written = re.sub(r"(?m)^num_cat=.*\n", "", text("2.0.5").decode())
    written = re.sub(
        r"(?m)^left_child=(.*)$", lambda line: f"default_value={_any(line[1])}\n{line[0]}", written
    )
    return re.sub(r"(?m)^(shrinkage=.*)$", r"\1\nhas_categorical=0", written).encode()


def text_of_1() -> bytes:
    """As LightGBM 1 wrote it: the sigmoid has a line of its own."""
    written = re.sub(
        r"(?m)^(?:num_tree_per_iteration|feature_infos)=.*\n", "", text_of_the_first_2().decode()
    )
    return written.replace("objective=binary sigmoid:1", "objective=binary\nsigmoid=1").encode()


def of_lightgbm_2() -> bytes:
    """A classifier as of a scikit-learn of its time: the encoder of its classes had another module."""
    raw = of_lightgbm_3()
    name = b"csklearn.preprocessing._label\nLabelEncoder\n"
    assert raw.count(name) == 1
    return raw.replace(name, name.replace(b"_label", b"label"))
