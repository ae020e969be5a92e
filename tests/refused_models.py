"""Model files that are refused. What comes of a library that is not installed is spelt as bytes."""

import collections
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

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
from tests.old_lightgbm import text, text_of_1, text_of_the_first_2


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


def with_attributes_on_the_dictionary() -> bytes:
    holder = collections.OrderedDict(document())
    holder.scaler = fitted(StandardScaler())  # type: ignore[attr-defined]
    return pickle.dumps(holder)


def with_attributes_on_the_columns() -> bytes:
    names = pd.Series(NAMES)
    names.attrs["scaler"] = fitted(StandardScaler())
    return pickle.dumps(document(features=names))


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
