"""Checks LightGBM's model text strictly, before LightGBM's own parser sees it.

That parser kills the process on some damaged texts, loads truncated ones silently, and loops for ever on
trees with cycles. A text that passes here is one whole binary classifier of numeric features. Format:
`GBDT::SaveModelToString` and `Tree::ToString` of LightGBM 2 to 4,
https://github.com/lightgbm-org/LightGBM/blob/v4.6.0/src/boosting/gbdt_model_text.cpp.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?: {_NUMBER})*")
_THRESHOLDS = re.compile(rf"(?:{_NUMBER}|inf)(?: (?:{_NUMBER}|inf))*")
_LOOSE_NUMBERS = re.compile(rf"(?:{_NUMBER}|-?inf|-?nan)(?: (?:{_NUMBER}|-?inf|-?nan))*")
_FORBIDDEN = re.compile(r"[\x00\r\ud800-\udfff]")  # the last are halves of surrogate pairs
_END_OF_TREE = "\n\n\n"
_INTEGERS = re.compile(r"-?[0-9]{1,9}(?: -?[0-9]{1,9})*")
_FEATURE_INFO = re.compile(rf"none|\[({_NUMBER}|-?inf):({_NUMBER}|-?inf)\]")
_CATEGORY_INFO = re.compile(r"-?[0-9]+(?::-?[0-9]+)*")
# LightGBM wrote « feature importances » until 2.3, and no end of trees until 2.1.
_TRAILER = re.compile(
    r"(?:end of trees\n)?"
    r"\nfeature[_ ]importances:\n(?:[^\n]+=[0-9]+\n)*"
    r"(?:\nparameters:\n(?:\[[A-Za-z0-9_]+: [^\n]*\]\n)*\nend of parameters\n)?"
    r"(?:\npandas_categorical:(?P<categories>null|\[\]|\[\[[^\n]*\]\]))?[ \t\n]*"
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
# Until 2.0.11 LightGBM wrote neither sizes nor a version, and for a while before 2.0.12 no sizes:
# https://github.com/microsoft/LightGBM/blob/1bade947fdd2019ca8af46c6efddea0359e62e60/src/boosting/gbdt_model.cpp
_HEADERS_OF_2 = (_HEADER_KEYS[:-1], _HEADER_KEYS[1:-1])
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
# The keys that LightGBM did not write before 2.3, and before 3.2.
_SINCE_2_3 = frozenset({"leaf_weight", "internal_weight", "is_linear"})
_SINCE_3_2 = frozenset({"is_linear"})
_OF_2 = tuple(key for key in _TREE_KEYS if key not in _SINCE_2_3)
_LEAVES = _OF_2.index("leaf_value")
_OF_2_0_5 = (*_OF_2[:_LEAVES], "leaf_parent", *_OF_2[_LEAVES:])
_KEYS_OF_A_TREE: dict[str, list[tuple[str, ...]]] = {
    "v2": [_OF_2, _OF_2_0_5],
    "v3": [tuple(key for key in _TREE_KEYS if key not in _SINCE_3_2), _TREE_KEYS],
    "v4": [_TREE_KEYS],
}
_TRUNCATED = "le texte du modèle est tronqué"
_BAD_HEADER = "l’en-tête du modèle est corrompu"
_MOST_FEATURES = 5_000
_INTEGER_KEYS = frozenset(
    {
        "split_feature",
        "decision_type",
        "left_child",
        "right_child",
        "internal_count",
        "leaf_count",
        "leaf_parent",
    }
)
_CATEGORIES = "le modèle a des variables catégorielles ; codez-les en nombres avant de l’entraîner"
_OTHER_FEATURES = (
    "la liste « features » n’est pas celle des variables du modèle, dans le même ordre ; corrigez la liste"
)
_OWN_OBJECTIVE = (
    "le modèle a un objectif personnalisé, dont les scores ne sont pas des probabilités ; "
    "entraînez-le avec objective=binary"
)
_TOO_OLD = (
    "le modèle est d’une des premières versions de LightGBM, que LightGBM 4 ne lit plus ; "
    "entraînez-le de nouveau"
)
# Until https://github.com/microsoft/LightGBM/pull/1906 LightGBM 2 took the mean of a forest's trees for the
# probability itself; later versions convert that mean: LightGBM 4.7 is wrong by 0.38 about forests of 2.1.
# The text does not tell which of them wrote it.
_FOREST_OF_2 = (
    "le modèle est une forêt (boosting=rf) de LightGBM 2, dont les probabilités dépendaient de sa version ; "
    "entraînez-le de nouveau avec LightGBM 3 ou 4"
)
# What these hold decides nothing, and huge weights of clients make it infinite.
_TOLD_ONLY = frozenset({"split_gain", "internal_value", "internal_weight", "leaf_weight"})
_MISSING_IS_NAN = 8  # in a split's decision_type


class BadModelText(ValueError):
    """The text is damaged, or is not a binary classifier of numeric features. The message is in French."""


class UnsupportedModel(BadModelText):
    """The text may be sound, and is of a model that is not served. The message ends with what to do."""


def check(text: str, features: Sequence[str]) -> None:
    """Raise BadModelText unless `text` is one whole binary classifier of these features in this order."""
    header, trees, rest = _split(text)
    _check_header(header, features)
    _check_trailer(rest, header["version"])
    _expect(len(trees) > 0, "le modèle n’a aucun arbre")
    highest = sum(
        _check_tree(number, tree, len(features), header["version"]) for number, tree in enumerate(trees)
    )
    _expect(math.isfinite(highest), "la somme des feuilles du modèle peut être infinie")


def names(text: str) -> list[str]:
    """The names of the features, as LightGBM keeps them. Raises BadModelText."""
    return _split(text)[0]["feature_names"].split(" ")


class Tree(NamedTuple):
    """Of each split: the feature's place, its threshold, LightGBM's decision bits, and two children.

    A child that is no split is a leaf, `~child`.
    """

    features: Sequence[int]
    thresholds: Sequence[float]
    decisions: Sequence[int]
    left: Sequence[int]
    right: Sequence[int]
    leaves: Sequence[float]


def trees(text: str) -> Iterator[Tree]:
    """The trees of a text that was checked. Raises BadModelText."""
    header, texts, _ = _split(text)
    for number, tree in enumerate(texts):
        values = {key: value.split() for key, value in _tree_values(number, tree, header["version"]).items()}
        keys = ("split_feature", "decision_type", "left_child", "right_child")
        features, decisions, left, right = ([*map(int, values[key])] for key in keys)
        thresholds, leaves = ([*map(float, values[key])] for key in ("threshold", "leaf_value"))
        yield Tree(features, thresholds, decisions, left, right, leaves)


def first_trees(text: str, count: int) -> str:
    """The text cut to its first `count` trees, as a classifier that was stopped early predicts.

    Raises BadModelText.
    """
    _, trees, rest = _split(text)
    if count >= len(trees):
        return text
    sizes = " ".join(str(len(tree.encode())) for tree in trees[:count])
    head, separator, _ = text.partition("\n\n")
    head = re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", head)
    return head + separator + "".join(trees[:count]) + rest


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise BadModelText(message)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UnsupportedModel(message)


def _split(text: str) -> tuple[dict[str, str], list[str], str]:
    """The header's values by key, the text of each tree, and what follows them. Raises BadModelText."""
    _expect(text.startswith("tree\n"), "le texte du modèle n’est pas celui de LightGBM")
    _expect(_FORBIDDEN.search(text) is None, "le texte du modèle contient des caractères interdits")
    head, separator, body = text[len("tree\n") :].partition("\n\n")
    _expect(bool(separator), _TRUNCATED)
    header = _header_values(head)
    if "tree_sizes" not in header:
        return header, *_cut_at_ends(body)
    sizes = [int(size) for size in _numbers(_BAD_HEADER, header["tree_sizes"], _INTEGERS)]
    trees, rest = _cut(body.encode(), sizes)
    return header, trees, rest


def _check_trailer(rest: str, version: str) -> None:
    trailer = _TRAILER.fullmatch(rest)
    _expect(
        trailer is not None and (rest.startswith("end of trees") or version == "v2"),
        "la fin du texte du modèle est absente ou corrompue",
    )
    categories = trailer["categories"] if trailer is not None else None
    _require(categories in (None, "null", "[]"), _CATEGORIES)


def _header_values(head: str) -> dict[str, str]:
    lines = [line.partition("=") for line in head.split("\n")]
    keys = [key for key, _, _ in lines]
    _require("sigmoid" not in keys or "version" in keys, _TOO_OLD)  # LightGBM 1 wrote it in a line of its own
    _require("objective" in keys or "feature_names" not in keys, _OWN_OBJECTIVE)
    values = {"version": "v2"} | {key: value for key, _, value in lines}
    headers = (_HEADER_KEYS, *_HEADERS_OF_2) if values["version"] == "v2" else (_HEADER_KEYS,)
    required = tuple(key for key in keys if key not in _OPTIONAL_HEADER_KEYS)
    _expect(required in headers and len(set(keys)) == len(keys), _BAD_HEADER)
    return values


def _cut(body: bytes, sizes: Sequence[int]) -> tuple[list[str], str]:
    trees, position = [], 0
    for size in sizes:
        _expect(size > 0, "la taille d’un arbre n’est pas positive")
        trees.append(_decode(body[position : position + size]))
        position += size
    _expect(position <= len(body), _TRUNCATED)
    return trees, _decode(body[position:])


def _cut_at_ends(body: str) -> tuple[list[str], str]:
    """As `_cut`, by the empty lines that end each tree."""
    trees, position = [], 0
    while body.startswith("Tree=", position):
        end = body.find(_END_OF_TREE, position)
        _expect(end >= 0, _TRUNCATED)
        end += len(_END_OF_TREE)
        trees.append(body[position:end])
        position = end
    return trees, body[position:]


def _decode(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError as error:
        raise BadModelText("les tailles des arbres ne correspondent pas au texte du modèle") from error


def _check_header(header: dict[str, str], features: Sequence[str]) -> None:
    _require(
        header["version"] in _KEYS_OF_A_TREE,
        "la version du format de modèle n’est pas prise en charge ; écrivez-le par LightGBM 2, 3 ou 4",
    )
    one_class = header["num_class"] == header["num_tree_per_iteration"] == "1"
    objective = re.fullmatch(rf"binary sigmoid:({_NUMBER})", header["objective"])
    _require(
        one_class and objective is not None and 0 < float(objective[1]) < math.inf,
        f"le modèle n’est pas un classifieur binaire{_objective(header)} ; "
        "entraînez-le avec objective=binary",
    )
    _expect(header.get("average_output", "") == "", _BAD_HEADER)
    _require("average_output" not in header or header["version"] != "v2", _FOREST_OF_2)
    _expect(_INTEGERS.fullmatch(header["label_index"]) is not None, _BAD_HEADER)
    _require(
        len(features) <= _MOST_FEATURES,
        f"le modèle a plus de {_MOST_FEATURES} variables ; entraînez-le sur celles qui comptent",
    )
    infos = header["feature_infos"].split(" ")
    _require(len(header["feature_names"].split(" ")) == len(features), _OTHER_FEATURES)
    _expect(header["max_feature_idx"] == str(len(features) - 1) and len(infos) == len(features), _BAD_HEADER)
    _check_names(header["feature_names"].split(" "), features)
    _require(not any(map(_CATEGORY_INFO.fullmatch, infos)), _CATEGORIES)
    _expect(all(map(_is_range, infos)), "les bornes des variables du modèle sont corrompues")
    _check_constraints(header.get("monotone_constraints"), len(features))


def _objective(header: Mapping[str, str]) -> str:
    """The objective in brackets, if it is one word of LightGBM's."""
    found = re.match(r"[a-z][a-z_0-9]{0,40}", header["objective"])
    return "" if found is None else f" (objective={found[0]})"


def _is_range(info: str) -> bool:
    """Whether it is the range of a numeric feature, or `none`, as for a feature with one value only."""
    match = _FEATURE_INFO.fullmatch(info)
    return match is not None and (info == "none" or float(match[1]) <= float(match[2]))


def _check_constraints(constraints: str | None, width: int) -> None:
    if constraints is not None:
        values = constraints.split(" ")
        _expect(len(values) == width and set(values) <= {"-1", "0", "1"}, _BAD_HEADER)


def _check_names(names: Sequence[str], features: Sequence[str]) -> None:
    """Compare the names with the features as LightGBM writes them: it puts « _ » for a space.

    A model trained on an array without names has made its own: a feature of such a name tells a place.
    """
    generic = [f"Column_{index}" for index in range(len(features))]
    written = [feature.replace(" ", "_") for feature in features]
    is_nameless = list(names) == generic and not set(written) & set(generic)
    _require(list(names) == written or is_nameless, _OTHER_FEATURES)


def _check_tree(number: int, tree: str, width: int, version: str) -> float:
    """Check one tree. Returns the largest absolute value that it can add to a score."""
    where = f"l’arbre {number} du modèle est corrompu"
    values = _tree_values(number, tree, version)
    _expect(re.fullmatch(r"[1-9][0-9]{0,8}", values["num_leaves"]) is not None, where)
    leaves = int(values["num_leaves"])
    splits = {key: _numbers(where, values[key], _grammar(key)) for key in _PER_SPLIT if key in values}
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
    if key in _TOLD_ONLY:
        return _LOOSE_NUMBERS
    return _INTEGERS if key in _INTEGER_KEYS else _NUMBERS


def _parts(threshold: str, decision: int) -> bool:
    """Whether a split's threshold is sound: finite, or infinite to separate missing from known values."""
    knows_missing = decision & _MISSING_IS_NAN != 0
    return knows_missing if threshold == "inf" else math.isfinite(float(threshold))


def _tree_values(number: int, tree: str, version: str) -> dict[str, str]:
    where = f"l’arbre {number} du modèle est corrompu"
    _expect(tree.startswith(f"Tree={number}\n") and tree.endswith(_END_OF_TREE), where)
    lines = [line.partition("=") for line in tree.split("\n")[1:-3]]
    values = {key: value for key, _, value in lines}
    _require("num_cat" in values or "leaf_parent" not in values, _TOO_OLD)
    _require(values.get("num_cat", "0") == "0", _CATEGORIES)
    _require(
        values.get("is_linear", "0") == "0",
        "le modèle a des arbres linéaires ; entraînez-le sans linear_tree",
    )
    _expect(tuple(key for key, _, _ in lines) in _KEYS_OF_A_TREE[version], where)
    return values


def _check_leaves(where: str, values: dict[str, str], leaves: int) -> float:
    leaf_values = _numbers(where, values["leaf_value"], _NUMBERS)
    _expect(len(leaf_values) == leaves and all(math.isfinite(value) for value in leaf_values), where)
    for key in {"leaf_weight", "leaf_count", "leaf_parent"} & values.keys():
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
