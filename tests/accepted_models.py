"""Model files that register, each made here by the library that people use for it."""

import collections
import datetime
import functools
import gzip
import io
import pickle
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
from lightgbm import LGBMClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from tests.model_zoo import (
    CLIENTS,
    NAMES,
    OUTCOMES,
    ROWS,
    SMALL,
    Specimen,
    booster,
    classifier,
    document,
    forest,
    joblibbed,
    of_classes,
    pickled,
)
from tests.old_lightgbm import of_lightgbm_2, of_lightgbm_3, text


def score(model: Any) -> Callable[[], Any]:
    def scored() -> Any:
        if isinstance(model, lightgbm.Booster):
            return model.predict(CLIENTS)
        return model.predict_proba(CLIENTS)[:, 1]

    return scored


def of_protocol(number: int) -> bytes:
    return pickle.dumps(document(), number)


def documented(written: str, content: Callable[[], bytes], model: Any = None) -> Specimen:
    return Specimen(written, content, score(classifier() if model is None else model))


def bare(written: str, model: Any, content: Callable[[], bytes] | None = None) -> Specimen:
    made = content or (lambda: pickle.dumps(model, 4))
    return Specimen(written, made, score(model), threshold=0.3)


def lz4(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@functools.cache
def heavy() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES, sample_weight=np.full(ROWS, 1e38))


@functools.cache
def infinite() -> LGBMClassifier:
    clients = CLIENTS.assign(DAYS_BIRTH=np.where(np.arange(ROWS) % 2, np.inf, 0.0))
    return LGBMClassifier(**SMALL).fit(clients, OUTCOMES)


def with_init_score() -> LGBMClassifier:
    return LGBMClassifier(**SMALL).fit(CLIENTS, OUTCOMES, init_score=np.full(ROWS, 0.5))


def odd_names() -> lightgbm.Booster:
    clients = CLIENTS.set_axis(["montant du crédit", "a=b", "é", "x y z"], axis=1)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 5}
    return lightgbm.train(settings, lightgbm.Dataset(clients, OUTCOMES), 8)


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
