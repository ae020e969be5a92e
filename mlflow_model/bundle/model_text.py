"""Checks LightGBM's model text strictly, before LightGBM's own parser sees it.

That parser kills the process on some damaged texts, loads truncated ones silently, and loops for ever on
trees with cycles. A text that passes here is one whole binary classifier of numeric features. Format:
`GBDT::SaveModelToString` and `Tree::ToString` of LightGBM 4,
https://github.com/lightgbm-org/LightGBM/blob/v4.6.0/src/boosting/gbdt_model_text.cpp.
"""

import math
import re
from collections.abc import Callable, Sequence

# The longest text of a model, wherever it comes from.
MOST_BYTES = 64 * 2**20

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?: {_NUMBER})*")
_THRESHOLDS = re.compile(rf"(?:{_NUMBER}|inf)(?: (?:{_NUMBER}|inf))*")
_INTEGERS = re.compile(r"-?[0-9]{1,9}(?: -?[0-9]{1,9})*")
_FEATURE_INFO = re.compile(rf"none|\[({_NUMBER}|-inf):({_NUMBER}|inf)\]")
_TRAILER = re.compile(
    r"end of trees\n"
    r"\nfeature_importances:\n(?:[^\s=]+=[0-9]+\n)*"
    r"(?:\nparameters:\n(?:\[[A-Za-z0-9_]+: [^\n]*\]\n)*\nend of parameters\n)?"
    r"(?:\npandas_categorical:(?:null|\[\])\n?)?"
)
_HEADER_KEYS = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)
_OPTIONAL_HEADER_KEYS = ("average_output", "monotone_constraints")
_PER_SPLIT = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_TREE_KEYS = (
    "num_leaves",
    "num_cat",
    *_PER_SPLIT[:6],
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    *_PER_SPLIT[6:],
    "is_linear",
    "shrinkage",
)
_BAD_HEADER = "l’en-tête du modèle est abîmé"
_MOST_FEATURES = 5_000
_INTEGER_KEYS = frozenset(
    {"split_feature", "decision_type", "left_child", "right_child", "internal_count", "leaf_count"}
)
_MISSING_IS_NAN = 8  # in a split's decision_type


class BadModelText(ValueError):
    """The text is damaged, or is not a binary classifier of numeric features. The message is in French."""


def check(text: str, features: Sequence[str]) -> None:
    """Raise BadModelText unless `text` is one whole binary classifier of these features in this order."""
    header, trees = _split(text)
    _check_header(header, features)
    _expect(len(trees) > 0, "le modèle n’a aucun arbre")
    highest = sum(_check_tree(number, tree, len(features)) for number, tree in enumerate(trees))
    _expect(math.isfinite(highest), "la somme des feuilles du modèle peut être infinie")


def tree_count(text: str) -> int:
    """The number of trees in a checked text."""
    return len(_split(text)[1])


def first_trees(text: str, count: int) -> str:
    """A checked text cut to its first `count` trees, as a classifier that was stopped early predicts."""
    _, trees = _split(text)
    start, end = text.index("\n\nTree=0\n") + 2, text.index("end of trees\n")
    sizes = " ".join(str(len(tree.encode())) for tree in trees[:count])
    header = re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", text[:start])
    return header + "".join(trees[:count]) + text[end:]


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise BadModelText(message)


def _split(text: str) -> tuple[dict[str, str], list[str]]:
    """The header's values by key, and the text of each tree. Raises BadModelText."""
    _expect(text.startswith("tree\n"), "le texte du modèle n’est pas celui de LightGBM")
    _expect("\x00" not in text and "\r" not in text, "le texte du modèle contient des caractères interdits")
    head, separator, body = text[len("tree\n") :].partition("\n\n")
    _expect(bool(separator), "le texte du modèle est tronqué")
    header = _header_values(head)
    sizes = [int(size) for size in _numbers(_BAD_HEADER, header["tree_sizes"], _INTEGERS)]
    trees, rest = _cut(body.encode(), sizes)
    _expect(_TRAILER.fullmatch(rest) is not None, "la fin du texte du modèle est absente ou abîmée")
    return header, trees


def _header_values(head: str) -> dict[str, str]:
    lines = [line.partition("=") for line in head.split("\n")]
    keys = [key for key, _, _ in lines]
    required = [key for key in keys if key not in _OPTIONAL_HEADER_KEYS]
    _expect(tuple(required) == _HEADER_KEYS and len(set(keys)) == len(keys), _BAD_HEADER)
    return {key: value for key, _, value in lines}


def _cut(body: bytes, sizes: Sequence[int]) -> tuple[list[str], str]:
    trees, position = [], 0
    for size in sizes:
        _expect(size > 0, "la taille d’un arbre n’est pas positive")
        trees.append(_decode(body[position : position + size]))
        position += size
    _expect(position <= len(body), "le texte du modèle est tronqué")
    return trees, _decode(body[position:])


def _decode(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError as error:
        raise BadModelText("les tailles des arbres ne correspondent pas au texte du modèle") from error


def _check_header(header: dict[str, str], features: Sequence[str]) -> None:
    _expect(header["version"] in ("v3", "v4"), "la version du format de modèle n’est pas prise en charge")
    one_class = header["num_class"] == header["num_tree_per_iteration"] == "1"
    objective = re.fullmatch(rf"binary sigmoid:({_NUMBER})", header["objective"])
    _expect(
        one_class and objective is not None and 0 < float(objective[1]) < math.inf,
        "le modèle n’est pas un classifieur binaire (objective=binary)",
    )
    _expect(header.get("average_output", "") == "", _BAD_HEADER)
    _expect(_INTEGERS.fullmatch(header["label_index"]) is not None, _BAD_HEADER)
    _expect(len(features) <= _MOST_FEATURES, f"le modèle a plus de {_MOST_FEATURES} features")
    _check_names(header["feature_names"].split(" "), features)
    infos = header["feature_infos"].split(" ")
    _expect(
        header["max_feature_idx"] == str(len(features) - 1) and len(infos) == len(features),
        "le nombre de features du modèle ne correspond pas à la liste « features »",
    )
    _expect(
        all(map(_is_range, infos)),
        "le modèle utilise des features catégorielles ou ses bornes sont abîmées",
    )
    _check_constraints(header.get("monotone_constraints"), len(features))


def _is_range(info: str) -> bool:
    """Whether it is the range of a numeric feature, or `none`, as for a feature with one value only."""
    match = _FEATURE_INFO.fullmatch(info)
    return match is not None and (info == "none" or float(match[1]) <= float(match[2]))


def _check_constraints(constraints: str | None, width: int) -> None:
    if constraints is not None:
        values = constraints.split(" ")
        _expect(len(values) == width and set(values) <= {"-1", "0", "1"}, _BAD_HEADER)


def _check_names(names: Sequence[str], features: Sequence[str]) -> None:
    generic = [f"Column_{index}" for index in range(len(features))]
    _expect(
        list(names) in (list(features), generic),
        "les noms de features du modèle ne sont pas ceux de la liste « features », dans le même ordre",
    )


def _check_tree(number: int, tree: str, width: int) -> float:
    """Check one tree. Returns the largest absolute value that it can add to a score."""
    where = f"l’arbre {number} du modèle est abîmé"
    values = _tree_values(number, tree)
    _expect(re.fullmatch(r"[1-9][0-9]{0,8}", values["num_leaves"]) is not None, where)
    leaves = int(values["num_leaves"])
    _expect(values["num_cat"] == "0", "le modèle utilise des features catégorielles")
    _expect(values["is_linear"] == "0", "les arbres linéaires ne sont pas pris en charge")
    splits = {key: _numbers(where, values[key], _grammar(key)) for key in _PER_SPLIT}
    _expect(all(len(numbers) == leaves - 1 for numbers in splits.values()), where)
    highest = _check_leaves(where, values, leaves)
    _expect(all(0 <= feature < width for feature in splits["split_feature"]), where)
    _expect(all(decision in (0, 2, 4, 6, 8, 10) for decision in splits["decision_type"]), where)
    thresholds = zip(values["threshold"].split(), splits["decision_type"], strict=True)
    _expect(all(_parts(threshold, int(decision)) for threshold, decision in thresholds), where)
    _check_shape(where, splits["left_child"], splits["right_child"], leaves)
    return highest


def _grammar(key: str) -> re.Pattern[str]:
    if key == "threshold":
        return _THRESHOLDS
    return _INTEGERS if key in _INTEGER_KEYS else _NUMBERS


def _parts(threshold: str, decision: int) -> bool:
    """Whether a split's threshold is sound: finite, or infinite to separate missing from known values."""
    knows_missing = decision & _MISSING_IS_NAN != 0
    return knows_missing if threshold == "inf" else math.isfinite(float(threshold))


def _tree_values(number: int, tree: str) -> dict[str, str]:
    where = f"l’arbre {number} du modèle est abîmé"
    _expect(tree.startswith(f"Tree={number}\n") and tree.endswith("\n\n\n"), where)
    lines = [line.partition("=") for line in tree.split("\n")[1:-3]]
    _expect(tuple(key for key, _, _ in lines) == _TREE_KEYS, where)
    return {key: value for key, _, value in lines}


def _check_leaves(where: str, values: dict[str, str], leaves: int) -> float:
    leaf_values = _numbers(where, values["leaf_value"], _NUMBERS)
    _expect(len(leaf_values) == leaves and all(math.isfinite(value) for value in leaf_values), where)
    for key in ("leaf_weight", "leaf_count"):
        # LightGBM writes no weight for a tree of a single leaf.
        _expect(
            len(_numbers(where, values[key], _grammar(key))) in ({leaves} if leaves > 1 else {0, 1}), where
        )
    shrinkage = _numbers(where, values["shrinkage"], _NUMBERS)
    _expect(len(shrinkage) == 1 and math.isfinite(shrinkage[0]), where)
    return max(map(abs, leaf_values))


def _check_shape(where: str, left: Sequence[float], right: Sequence[float], leaves: int) -> None:
    """Every leaf, and every split but the root, has one parent that comes before it: no cycle, no orphan."""
    children = [int(child) for pair in zip(left, right, strict=True) for child in pair]
    expected = [*(~leaf for leaf in range(leaves)), *range(1, leaves - 1)] if leaves > 1 else []
    _expect(sorted(children) == sorted(expected), where)
    _expect(all(child < 0 or child > position // 2 for position, child in enumerate(children)), where)


def _numbers(where: str, value: str, grammar: re.Pattern[str]) -> list[float]:
    if value == "":
        return []
    _expect(grammar.fullmatch(value) is not None, where)
    convert: Callable[[str], float] = int if grammar is _INTEGERS else float
    return [convert(number) for number in value.split(" ")]
