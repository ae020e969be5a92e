"""Small model files of every kind that people bring, each made here, with what its author would score.

Every file is written by the library that people use for it. Kinds whose library is not installed (XGBoost,
CatBoost, what another version of LightGBM wrote) are spelt as bytes.
"""

import collections
import datetime
import functools
import gzip
import io
import json
import pickle
import re
import struct
import zipfile
import zlib
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.utils import Bunch

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.handover import model_files

NAMES = ["AMT_CREDIT", "AMT_INCOME", "EXT_SOURCE", "DAYS_BIRTH"]
SMALL: dict[str, Any] = {"n_estimators": 8, "num_leaves": 5, "verbosity": -1, "n_jobs": 1}
ROWS = 400


def _clients() -> pd.DataFrame:
    random = np.random.default_rng(11)
    values = random.normal(size=(ROWS, len(NAMES)))
    values[random.random(ROWS) < 0.3, 2] = np.nan
    return pd.DataFrame(values, columns=NAMES)


CLIENTS = _clients()
OUTCOMES = (
    CLIENTS.fillna(0).to_numpy() @ [0.3, -0.5, -1.0, 0.4] + np.random.default_rng(12).normal(size=ROWS) > 0.6
).astype(int)


@dataclass(frozen=True)
class Specimen:
    """`original`: its author's default probabilities of CLIENTS; None if the file must be refused.

    `is_damaged`: only such a file may be called damaged. `written`: how an author makes it.
    """

    written: str
    content: Callable[[], bytes]
    original: Callable[[], Any] | None = None
    threshold: float | None = None
    default_class: str | None = None
    is_damaged: bool = False

    def expected(self) -> np.ndarray:
        assert self.original is not None
        return np.asarray(self.original(), dtype=np.float64)


@functools.cache
def classifier(**parameters: Any) -> LGBMClassifier:
    return LGBMClassifier(**SMALL | parameters).fit(CLIENTS, OUTCOMES)


def of_classes(classes: list[Any], dtype: Any = None) -> LGBMClassifier:
    outcomes = np.array(classes, dtype=dtype)[OUTCOMES]
    return LGBMClassifier(**SMALL).fit(CLIENTS, outcomes)


@functools.cache
def booster(**parameters: Any) -> lightgbm.Booster:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 5}
    return lightgbm.train(settings | parameters, lightgbm.Dataset(CLIENTS, OUTCOMES), 8)


def score(model: Any) -> Callable[[], Any]:
    def scored() -> Any:
        if isinstance(model, lightgbm.Booster):
            return model.predict(CLIENTS)
        return model.predict_proba(CLIENTS)[:, 1]

    return scored


def document(**content: Any) -> dict[str, Any]:
    return {"model": classifier(), "features": NAMES, "optimal_threshold": 0.3, "margin": 0.05} | content


def pickled(**content: Any) -> Callable[[], bytes]:
    return lambda: pickle.dumps(document(**content), 4)


def of_protocol(number: int) -> bytes:
    return pickle.dumps(document(), number)


def joblibbed(compress: Any = 0, **content: Any) -> Callable[[], bytes]:
    def dumped() -> bytes:
        stream = io.BytesIO()
        joblib.dump(document(**content), stream, compress=compress)
        return stream.getvalue()

    return dumped


def documented(written: str, content: Callable[[], bytes], model: Any = None) -> Specimen:
    return Specimen(written, content, score(classifier() if model is None else model))


def bare(written: str, model: Any, content: Callable[[], bytes] | None = None) -> Specimen:
    made = content or (lambda: pickle.dumps(model, 4))
    return Specimen(written, made, score(model), threshold=0.3)


def refused(written: str, content: Callable[[], bytes], **options: Any) -> Specimen:
    return Specimen(written, content, **options)


def named(module: str, name: str) -> bytes:
    """The opcodes of an object of a class that is not installed here."""
    return f"c{module}\n{name}\n".encode() + b")\x81}b"


def with_model(opcodes: bytes) -> bytes:
    """The documented dictionary around an object that is spelt as opcodes, in protocol 2."""
    raw = pickle.dumps(document(model="<model>", features=NAMES), 2)
    marked = b"X" + struct.pack("<I", 7) + b"<model>"
    assert raw.count(marked) == 1
    return raw.replace(marked, opcodes)


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


def lz4(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.pkl", pickle.dumps(document()))
    return stream.getvalue()


def parquet() -> bytes:
    stream = io.BytesIO()
    CLIENTS.to_parquet(stream)
    return stream.getvalue()


def fitted(model: Any) -> Any:
    return model.fit(CLIENTS.fillna(0), OUTCOMES)


def with_category() -> LGBMClassifier:
    """A column of categories that no tree uses."""
    clients = CLIENTS.assign(DAYS_BIRTH=pd.Categorical(["x", "y"] * (ROWS // 2)))
    return LGBMClassifier(**SMALL | {"n_estimators": 2}).fit(clients, CLIENTS.EXT_SOURCE.fillna(0) > 0)


def squared(outcomes: Any, scores: Any) -> tuple[Any, Any]:
    return scores - outcomes, np.ones(len(scores))


@functools.cache
def heavy() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES, sample_weight=np.full(ROWS, 1e38))


def with_attributes_on_the_dictionary() -> bytes:
    holder = collections.OrderedDict(document())
    holder.scaler = fitted(StandardScaler())  # type: ignore[attr-defined]
    return pickle.dumps(holder)


def with_attributes_on_the_columns() -> bytes:
    names = pd.Series(NAMES)
    names.attrs["scaler"] = fitted(StandardScaler())
    return pickle.dumps(document(features=names))


@functools.cache
def infinite() -> LGBMClassifier:
    clients = CLIENTS.assign(DAYS_BIRTH=np.where(np.arange(ROWS) % 2, np.inf, 0.0))
    return LGBMClassifier(**SMALL).fit(clients, OUTCOMES)


def with_attribute(**attributes: Any) -> LGBMClassifier:
    model = LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def two_pickles() -> bytes:
    return pickle.dumps(classifier()) + pickle.dumps(NAMES)


def own_objective() -> LGBMClassifier:
    return LGBMClassifier(**SMALL, objective=squared).fit(CLIENTS, OUTCOMES)


def calibrated() -> CalibratedClassifierCV:
    return CalibratedClassifierCV(LGBMClassifier(**SMALL), cv=2).fit(CLIENTS, OUTCOMES)


def searched() -> GridSearchCV:
    return GridSearchCV(LGBMClassifier(**SMALL), {"num_leaves": [3, 5]}, cv=2).fit(CLIENTS, OUTCOMES)


def early_stopping_in_prediction() -> LGBMClassifier:
    return LGBMClassifier(**SMALL, pred_early_stop=True).fit(CLIENTS, OUTCOMES)


def nameless() -> lightgbm.Booster:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 5}
    return lightgbm.train(settings, lightgbm.Dataset(CLIENTS.to_numpy(), OUTCOMES), 8)


def with_an_impossible_character() -> bytes:
    raw = pickle.dumps(document(features=np.array(NAMES)), 4)
    letter = NAMES[0][0].encode("utf-32-le")
    assert letter in raw
    return raw.replace(letter, b"\x00\x00\x00\x7f", 1)


def with_init_score() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES, init_score=np.full(ROWS, 0.5))


def odd_names() -> lightgbm.Booster:
    clients = CLIENTS.set_axis(["montant du crédit", "a=b", "é", "x y z"], axis=1)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 5}
    return lightgbm.train(settings, lightgbm.Dataset(clients, OUTCOMES), 8)


def forest() -> lightgbm.Booster:
    return booster(boosting="rf", bagging_freq=1, bagging_fraction=0.5)


def with_classes_of(dtype: Any) -> LGBMClassifier:
    return of_classes([0, 1], dtype)


def watched() -> LGBMClassifier:
    """Trained with all that fit knows: weights of classes, other clients to watch, callbacks, a generator."""
    settings = SMALL | {
        "class_weight": {0: 1, 1: 2},
        "random_state": np.random.default_rng(0),
        "metric": "auc",
    }
    callbacks: list[Any] = [lightgbm.early_stopping(3, verbose=False), lightgbm.record_evaluation({})]
    return LGBMClassifier(**settings).fit(
        CLIENTS, OUTCOMES, eval_X=CLIENTS, eval_y=OUTCOMES, eval_metric=same_for_all, callbacks=callbacks
    )


def same_for_all(outcomes: Any, scores: Any) -> tuple[str, float, bool]:
    return "same", 0.0, True


def trained_further() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES, init_model=classifier())


def with_a_request() -> LGBMClassifier:
    with sklearn.config_context(enable_metadata_routing=True):
        return LGBMClassifier(**SMALL).set_fit_request(sample_weight=True).fit(CLIENTS, OUTCOMES)


def with_a_scaler_in_the_booster() -> LGBMClassifier:
    model = with_attribute()
    model.booster_.params["scaler"] = fitted(StandardScaler())
    return model


def with_a_scaler_in_the_encoder() -> LGBMClassifier:
    model = with_attribute()
    model._le.scaler_ = fitted(StandardScaler())
    return model


def by_cloudpickle() -> bytes:
    """A class that exists in a script only: cloudpickle writes its code into the file."""
    scorer = type("Scorer", (), {"__module__": "__main__", "predict": lambda self, clients: clients})
    return bytes(cloudpickle.dumps(document(model=scorer())))


ODD: dict[str, Any] = {
    "trained": datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    "day": datetime.date(2026, 1, 1),
    "last": collections.deque([1, 2]),
    "counts": collections.Counter("ab"),
    "lists": collections.defaultdict(list, {"x": [1]}),
    "where": Path("x"),
    "scores": CLIENTS.head(3),
    "metrics": {"auc": np.float64(0.77), "n": np.int64(3), "labels": np.array(["a", "b"])},
    "kinds": {"a", "b"},
    "complex": 1j,
}

MORE_DATA: dict[str, Any] = {
    "ellipsis": ...,
    "masked": np.ma.masked,
    "mask": np.ma.array([1.0, 2.0], mask=[True, False]),
    "rng": np.random.default_rng(0),
    "kind": np.float64,
    "nothing": pd.NA,
    "records": np.array([(1, 2.0)], dtype=[("n", int), ("x", float)]),
}

FORMS: dict[str, Specimen] = {
    "the documented dictionary": documented("pickle.dump({'model', 'features', …})", pickled()),
    **{
        f"the same, protocol {number}": documented(
            f"pickle.dump(…, protocol={number})", functools.partial(of_protocol, number)
        )
        for number in (0, 1, 2, 3, 5)
    },
    "the same before a block of zeros": documented(
        "a copy filled up to its block", lambda: pickle.dumps(document()) + bytes(512)
    ),
    "the same as an OrderedDict": documented(
        "pickle.dump(OrderedDict(…))", lambda: pickle.dumps(collections.OrderedDict(document()))
    ),
    "the same by joblib": documented("joblib.dump(…)", joblibbed()),
    **{
        f"the same by joblib, {name}": documented(f"joblib.dump(…, compress={name!r})", joblibbed(name))
        for name in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
    "the same by joblib, lz4": documented("joblib.dump(…, compress='lz4')", lambda: lz4(joblibbed()())),
    "the same through gzip": documented("gzip.open(…), pickle.dump", lambda: gzip.compress(pickled()())),
    "the same of LightGBM 3": documented("pickle.dump by LightGBM 3", of_lightgbm_3),
    "columns as an Index": documented("'features': X.columns", pickled(features=CLIENTS.columns)),
    "columns as an Index of objects": documented(
        "'features': X.columns of pandas 2", pickled(features=pd.Index(NAMES, dtype=object))
    ),
    "columns as an array": documented("'features': np.array(…)", pickled(features=np.array(NAMES))),
    "columns as an array by joblib": documented(
        "the same by joblib", joblibbed(features=np.array(NAMES, dtype=object))
    ),
    "columns as a Series": documented("'features': pd.Series(…)", pickled(features=pd.Series(NAMES))),
    "columns as an Index of categories": documented(
        "'features': pd.CategoricalIndex(…)", pickled(features=pd.CategoricalIndex(NAMES))
    ),
    "columns as a Series of categories": documented(
        "'features': pd.Series(…, dtype='category')", pickled(features=pd.Series(NAMES, dtype="category"))
    ),
    "columns as a Series of objects": documented(
        "the same of pandas 2", pickled(features=pd.Series(NAMES, dtype=object))
    ),
    **{
        f"columns as an Index, protocol {number}": documented(
            f"'features': X.columns, protocol={number}",
            functools.partial(pickle.dumps, document(features=CLIENTS.columns), number),
        )
        for number in (0, 2)
    },
    "an objective as NumPy's text": documented(
        "objective=np.str_('binary')", pickled(model=classifier(objective=np.str_("binary")))
    ),
    "pred_early_stop that NumPy says is off": documented(
        "pred_early_stop=np.False_", pickled(model=classifier(pred_early_stop=np.False_))
    ),
    "a number of thousands of digits beside it": documented(
        "10**5000: 'key'", lambda: pickle.dumps({**document(), 10**5000: "key"})
    ),
    "values of every kind beside it": documented("'trained': a time, 'last': a deque, …", pickled(**ODD)),
    "a Booster in the dictionary": documented(
        "'model': classifier.booster_", pickled(model=booster()), booster()
    ),
    "a Pipeline of the classifier alone": documented(
        "Pipeline([('clf', LGBMClassifier())])",
        pickled(model=Pipeline([("clf", classifier())])),
        classifier(),
    ),
    "classes that are booleans": documented(
        "y is True / False", pickled(model=of_classes([False, True])), of_classes([False, True])
    ),
    "classes that are floats": documented(
        "y is 0.0 / 1.0", pickled(model=of_classes([0.0, 1.0])), of_classes([0.0, 1.0])
    ),
    "classes that are bytes wide": documented(
        "y is int8", pickled(model=of_classes([0, 1], np.int8)), of_classes([0, 1], np.int8)
    ),
    "other classes, of which one is named": Specimen(
        "y is 'bon' / 'défaut', --default-class défaut",
        pickled(model=of_classes(["bon", "défaut"])),
        score(of_classes(["bon", "défaut"])),
        default_class="défaut",
    ),
    **{
        f"{called}, of which 1 is named": Specimen(
            f"y is {called}, --default-class 1",
            pickled(model=with_classes_of(dtype)),
            score(with_classes_of(dtype)),
            default_class="1",
        )
        for called, dtype in (("0 / 1", int), ("0.0 / 1.0", float), ("False / True", bool))
    },
    "a model that other clients stopped": documented(
        "fit(…, eval_X=…, callbacks=[early_stopping(…)]), class_weight={…}",
        pickled(model=watched()),
        watched(),
    ),
    "a model that was trained further": documented(
        "fit(…, init_model=…)", pickled(model=trained_further()), trained_further()
    ),
    "a model that asks for weights of clients": documented(
        "set_fit_request(sample_weight=True)", pickled(model=with_a_request()), with_a_request()
    ),
    "a Pipeline with a cache": documented(
        "Pipeline([('clf', …)], memory=joblib.Memory(…))",
        pickled(model=Pipeline([("clf", classifier())], memory=joblib.Memory(None))),
    ),
    "the same of LightGBM 2": documented("pickle.dump by LightGBM 2", of_lightgbm_2),
    "a sigmoid of 2": documented("sigmoid=2", pickled(model=booster(sigmoid=2.0)), booster(sigmoid=2.0)),
    "class weights": documented(
        "class_weight='balanced'",
        pickled(model=classifier(class_weight="balanced")),
        classifier(class_weight="balanced"),
    ),
    "an init score": documented("fit(…, init_score=…)", pickled(model=with_init_score()), with_init_score()),
    "a random forest of LightGBM's": documented(
        "boosting_type='rf'",
        pickled(model=forest()),
        forest(),
    ),
    "names that LightGBM changed": Specimen(
        "columns « montant du crédit », « a=b »",
        pickled(model=odd_names(), features=["montant du crédit", "a=b", "é", "x y z"]),
        lambda: odd_names().predict(CLIENTS.to_numpy()),
    ),
    "values of every kind in protocol 0": documented(
        "the same, protocol=0", lambda: pickle.dumps(document(**ODD), 0)
    ),
    "pred_early_stop that is off": documented(
        "LGBMClassifier(pred_early_stop=False)",
        pickled(model=classifier(pred_early_stop=False)),
        classifier(pred_early_stop=False),
    ),
    "a column with infinite values": documented("X has inf", pickled(model=infinite()), infinite()),
    "the same as a Bunch": documented(
        "Bunch(model=…, features=…)", lambda: pickle.dumps(Bunch(**document()))
    ),
    "more data beside it": documented(
        "'rng': default_rng(), 'mask': np.ma.array(…), …", pickled(**MORE_DATA)
    ),
    "huge weights of clients": documented("fit(…, sample_weight=1e38)", pickled(model=heavy()), heavy()),
    "a classifier by itself": bare("pickle.dump(LGBMClassifier), --threshold", classifier()),
    "a classifier by itself, by joblib": bare(
        "joblib.dump(LGBMClassifier), --threshold",
        classifier(),
        lambda: _joblib_of(classifier()),
    ),
    "a Booster by itself": bare("pickle.dump(Booster), --threshold", booster()),
    "a Pipeline by itself": bare(
        "pickle.dump(Pipeline of the classifier alone), --threshold",
        classifier(),
        lambda: pickle.dumps(Pipeline([("clf", classifier())])),
    ),
    "LightGBM's text, version 4": bare("save_model by LightGBM 4, --threshold", booster(), lambda: text("4")),
    **{
        f"LightGBM's text, version {version}": bare(
            f"save_model, rewritten as LightGBM {version} wrote it, --threshold",
            booster(),
            functools.partial(text, version),
        )
        for version in ("3.0", "2.3", "2.2", "2.1", "2.0.12 without sizes", "2.0.10", "2.0.5")
    },
    "LightGBM's text with a byte order mark and an empty line": bare(
        "save_model, then a copy by an editor", booster(), lambda: b"\xef\xbb\xbf" + text("4") + b"\n\n"
    ),
    "LightGBM's text with the line ends of Windows": bare(
        "save_model, then a copy by an editor", booster(), lambda: text("4").replace(b"\n", b"\r\n")
    ),
}


def _joblib_of(model: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(model, stream)
    return stream.getvalue()


REFUSED: dict[str, Specimen] = {
    "a classifier without a threshold": refused(
        "pickle.dump(LGBMClassifier)", lambda: pickle.dumps(classifier())
    ),
    "LightGBM's text without a threshold": refused("save_model", lambda: text("4")),
    "the dictionary without its threshold": refused(
        "pickle.dump({'model', 'features'})", pickled(optimal_threshold=None)
    ),
    "a dictionary with other keys": refused(
        "pickle.dump({'clf', 'cols'})", lambda: pickle.dumps({"clf": classifier(), "cols": NAMES})
    ),
    "a scaler beside the model": refused(
        "'scaler': StandardScaler()", pickled(scaler=fitted(StandardScaler()))
    ),
    "an encoder in a list": refused(
        "'steps': [OrdinalEncoder()]", pickled(steps=[("e", fitted(OrdinalEncoder()))])
    ),
    "a function beside the model": refused("'prepare': np.log1p", pickled(prepare=np.log1p)),
    "a method beside the model": refused("'predict': model.predict", pickled(predict=classifier().predict)),
    "a function as a key": refused("{np.log1p: 1}", lambda: pickle.dumps({**document(), np.log1p: 1})),
    "a scaler as an attribute of the model": refused(
        "model.scaler_ = StandardScaler()", pickled(model=with_attribute(scaler_=fitted(StandardScaler())))
    ),
    "a scaler as another attribute of the model": refused(
        "model._scaler = StandardScaler()", pickled(model=with_attribute(_scaler=fitted(StandardScaler())))
    ),
    **{
        f"a scaler under the name {name} on the model": refused(
            f"model.{name} = StandardScaler()",
            pickled(model=with_attribute(**{name: fitted(StandardScaler())})),
        )
        for name in ("params", "steps", "memory", "_le", "_other_params")
    },
    "a function as an attribute of the model": refused(
        "model._prepare = np.log1p", pickled(model=with_attribute(_prepare=np.log1p))
    ),
    "a scaler among the parameters of the Booster": refused(
        "model.booster_.params['scaler'] = StandardScaler()", pickled(model=with_a_scaler_in_the_booster())
    ),
    "a scaler in the encoder of the classes": refused(
        "model._le.scaler_ = StandardScaler()", pickled(model=with_a_scaler_in_the_encoder())
    ),
    "another predict_proba on the model": refused(
        "model.predict_proba = calibrator.predict",
        pickled(model=with_attribute(predict_proba=fitted(LogisticRegression()).predict_proba)),
    ),
    "a text whose other class is named": refused(
        "save_model, --default-class 0", lambda: text("4"), threshold=0.3, default_class="0"
    ),
    "two pickles in one file": refused("pickle.dump(model), pickle.dump(features)", two_pickles),
    "an array of records by joblib": refused(
        "joblib.dump({…, 'log': np.array([…], dtype=[…])})",
        joblibbed(log=np.array([(1, "a")], dtype=[("n", int), ("o", object)])),
    ),
    "a table of clients": refused("X.to_csv(…)", lambda: b"client_id;montant\n1;2\n"),
    "a scaler as an attribute of the dictionary": refused(
        "OrderedDict(…).scaler = StandardScaler()", with_attributes_on_the_dictionary
    ),
    "a scaler as an attribute of the columns": refused(
        "pd.Series(…).attrs['scaler'] = StandardScaler()", with_attributes_on_the_columns
    ),
    "columns that are categories of numbers": refused(
        "'features': pd.CategoricalIndex([0, 1, …])", pickled(features=pd.CategoricalIndex([0, 1, 2, 3]))
    ),
    "columns that are numbers": refused("'features': [0, 1, …]", pickled(features=[0, 1, 2, 3])),
    "a column with a tab in its name": refused(
        "'features': ['A\\tB', …]", pickled(features=["A\tB", *NAMES[1:]])
    ),
    "a column twice": refused("'features': ['A', 'A', …]", pickled(features=[NAMES[0], *NAMES[:3]])),
    "classes in words": refused(
        "y is 'défaut' / 'remboursé'", pickled(model=of_classes(["défaut", "remboursé"]))
    ),
    "classes 1 and 2": refused("y is 1 / 2", pickled(model=of_classes([1, 2]))),
    "classes -1 and 1": refused("y is -1 / 1", pickled(model=of_classes([-1, 1]))),
    "the other class as default": refused(
        "y is 'défaut' / 'remboursé', --default-class défaut",
        pickled(model=of_classes(["défaut", "remboursé"])),
        default_class="défaut",
    ),
    "the other class as default, of booleans": refused(
        "y is False / True, --default-class 0", pickled(model=of_classes([False, True])), default_class="0"
    ),
    "three classes": refused(
        "y is 0 / 1 / 2", pickled(model=LGBMClassifier(**SMALL).fit(CLIENTS, np.arange(ROWS) % 3))
    ),
    "a ranking model": refused(
        "LGBMRanker()", pickled(model=LGBMRanker(**SMALL).fit(CLIENTS, OUTCOMES, group=[ROWS]))
    ),
    "a regression": refused("LGBMRegressor()", pickled(model=LGBMRegressor(**SMALL).fit(CLIENTS, OUTCOMES))),
    "a regression's text": refused(
        "objective=regression, --threshold", lambda: text("4", booster(objective="regression")), threshold=0.3
    ),
    "a forest of LightGBM 2": refused(
        "boosting=rf, save_model, rewritten as LightGBM 2.1 wrote it, --threshold",
        lambda: text("2.1", forest()),
        threshold=0.3,
    ),
    "a text of the first LightGBM 2": refused(
        "save_model, rewritten as LightGBM 2.0.4 wrote it, --threshold",
        text_of_the_first_2,
        threshold=0.3,
    ),
    "a text of LightGBM 1": refused(
        "save_model, rewritten as LightGBM 1 wrote it, --threshold", text_of_1, threshold=0.3
    ),
    "another link": refused(
        "objective=cross_entropy_lambda, --threshold",
        lambda: text("4", booster(objective="cross_entropy_lambda")),
        threshold=0.3,
    ),
    "a custom objective": refused("LGBMClassifier(objective=function)", pickled(model=own_objective())),
    "prediction that stops early": refused(
        "LGBMClassifier(pred_early_stop=True)", pickled(model=early_stopping_in_prediction())
    ),
    "prediction that stops early, in an OrderedDict": refused(
        "model._other_params = OrderedDict(pred_early_stop=True)",
        pickled(model=with_attribute(_other_params=collections.OrderedDict(pred_early_stop=True))),
    ),
    "a threshold beyond the doubles": refused(
        "'optimal_threshold': 10**400", pickled(optimal_threshold=10**400)
    ),
    "classes of long doubles": refused(
        "y is np.longdouble", pickled(model=of_classes([0, 1], np.longdouble))
    ),
    "a nameless model with its columns in another order": refused(
        "fit(X.to_numpy()), 'features': ['Column_2', 'Column_0', …]",
        pickled(model=nameless(), features=["Column_2", "Column_0", "Column_1", "Column_3"]),
    ),
    "a text with half a character": refused(
        "another byte in np.array(['A', …])", with_an_impossible_character, is_damaged=True
    ),
    "categorical features": refused(
        "categorical_feature=['DAYS_BIRTH']",
        pickled(
            model=LGBMClassifier(**SMALL).fit(
                CLIENTS.assign(DAYS_BIRTH=np.arange(ROWS) % 5), OUTCOMES, categorical_feature=["DAYS_BIRTH"]
            )
        ),
    ),
    "a category that no tree uses": refused("X['…'].astype('category')", pickled(model=with_category())),
    "linear trees": refused("linear_tree=True", pickled(model=booster(linear_tree=True))),
    "a Pipeline with a scaler": refused(
        "Pipeline([('scaler', StandardScaler()), ('clf', …)])",
        pickled(
            model=Pipeline([("scaler", StandardScaler()), ("clf", LGBMClassifier(**SMALL))]).fit(
                CLIENTS, OUTCOMES
            )
        ),
    ),
    "a calibrated classifier": refused("CalibratedClassifierCV(…)", pickled(model=calibrated())),
    "a search": refused("GridSearchCV(…)", pickled(model=searched())),
    "a random forest": refused(
        "RandomForestClassifier()", pickled(model=fitted(RandomForestClassifier(n_estimators=2)))
    ),
    "a logistic regression by itself": refused(
        "pickle.dump(LogisticRegression())", lambda: pickle.dumps(fitted(LogisticRegression()))
    ),
    "an untrained classifier": refused("LGBMClassifier(), no fit", pickled(model=LGBMClassifier())),
    "XGBoost": refused("XGBClassifier()", lambda: with_model(named("xgboost.sklearn", "XGBClassifier"))),
    "CatBoost": refused(
        "CatBoostClassifier()", lambda: with_model(named("catboost.core", "CatBoostClassifier"))
    ),
    "CatBoost's own file": refused("save_model by CatBoost", lambda: b"CBM1" + bytes(200)),
    "XGBoost's own file": refused(
        "save_model('….json') by XGBoost", lambda: json.dumps({"learner": {}, "version": [2, 0, 0]}).encode()
    ),
    "a class of one's own": refused(
        "class Model in a script", lambda: with_model(named("__main__", "Model"))
    ),
    "code by cloudpickle": refused("cloudpickle.dump", by_cloudpickle),
    "columns as a set": refused("'features': {…}", pickled(features=set(NAMES))),
    "columns in another order": refused("'features': sorted(…)", pickled(features=NAMES[::-1])),
    "a zip": refused("a .zip", zipped),
    "a Git LFS pointer": refused(
        "git clone without git lfs",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ),
    "a Parquet file": refused("X.to_parquet(…)", parquet),
    "a NumPy array": refused("np.save(…)", lambda: b"\x93NUMPY\x01\x00" + bytes(100)),
    "a JSON file": refused("json.dump", lambda: b'{"threshold": 0.3}'),
    "LightGBM's JSON": refused("dump_model", lambda: json.dumps(booster().dump_model()).encode()),
    "a page of a web site": refused("a download of the page", lambda: b"<!DOCTYPE html><html></html>"),
    "a text": refused("a .txt", lambda: b"AUC = 0.77\n"),
    "an empty file": refused("touch", lambda: b""),
    "a pickle cut short": refused("half a copy", lambda: pickled()()[:2000], is_damaged=True),
    "a compressed file cut short": refused(
        "half a copy", lambda: gzip.compress(pickled()())[:1000], is_damaged=True
    ),
    "a text cut short": refused(
        "half a copy, --threshold", lambda: text("4")[:3000], threshold=0.3, is_damaged=True
    ),
    "a damaged tree": refused(
        "an editor, --threshold", lambda: _one_more_leaf(text("4")), threshold=0.3, is_damaged=True
    ),
    "a bomb": refused("1 GiB of zeros by gzip", lambda: _bomb(), is_damaged=False),
}


def _one_more_leaf(content: bytes) -> bytes:
    return content.replace(b"num_leaves=5", b"num_leaves=6", 1)


def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(2**20)
    return b"".join([*(compressor.compress(piece) for _ in range(1024)), compressor.flush()])


def bundle_of(specimen: Specimen, folder: Path) -> Bundle:
    """The bundle that the file becomes. Raises ModelUnavailable."""
    path = folder / "model.file"
    path.write_bytes(specimen.content())
    model = model_files.read(path, specimen.default_class)
    return model_files.bundle_of(model, path, specimen.threshold)[0]
