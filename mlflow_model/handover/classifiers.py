"""Finds LightGBM's text in what stands for a trained classifier, and names what is no such classifier."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from mlflow_model.bundle import model_text
from mlflow_model.bundle.limits import MOST_BYTES
from mlflow_model.handover import arrays, inert, unused
from mlflow_model.handover.inert import Name, Object
from mlflow_model.handover.refusals import NotUsable, shown

_CLASSIFIER = Name("lightgbm.sklearn", "LGBMClassifier")
_BOOSTER = Name("lightgbm.basic", "Booster")
_PIPELINE = "Pipeline"
_SEARCHES = {
    "GridSearchCV",
    "RandomizedSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
}
_CALIBRATED = {"CalibratedClassifierCV", "_CalibratedClassifier"}
_NOT_CLASSIFIERS = {"LGBMRegressor", "LGBMRanker", "LGBMModel"}
_OF_CODE = {"cloudpickle", "dill"}
_LIBRARIES = {"xgboost": "XGBoost", "catboost": "CatBoost", "sklearn": "scikit-learn"}
_OFF = (None, False, "false", "-")  # as LightGBM reads a parameter that is on or off
ONLY_LIGHTGBM = "seuls les classifieurs de LightGBM sont pris en charge"
# The working objects that LightGBM's and scikit-learn's own classes write into a trained model, by the
# attribute that holds them. None of them takes part in a probability.
_ENCODERS = {Name(f"sklearn.preprocessing.{module}", "LabelEncoder") for module in ("_label", "label")}
_PREDICTOR = {Name("lightgbm.basic", "_InnerPredictor")}  # of the model that was trained further
_REQUESTS = {Name("sklearn.utils._metadata_requests", f"{name}MetadataRequest") for name in ("", "Method")}
_MODELS = {_CLASSIFIER, _BOOSTER, Name("sklearn.pipeline", _PIPELINE)}  # a request keeps that which it is of
_CACHES = {Name("joblib.memory", "Memory"), Name("joblib._store_backends", "FileSystemStoreBackend")}
_WRITTEN: Mapping[str, Container[Name]] = {
    "_le": _ENCODERS,
    "_Booster__init_predictor": _PREDICTOR,
    "_metadata_request": _REQUESTS | _MODELS | _ENCODERS | _PREDICTOR,
    "memory": _CACHES,
}


def text_of(model: Any, default_class: str | None) -> str:
    """The text of the trees with which a LGBMClassifier or a Booster predicts default.

    A Pipeline of a classifier alone is that classifier. `default_class`: the class that means default, as
    text, for a classifier whose classes are not 0 and 1. Raises NotUsable.
    """
    model = _only_step(model)
    if inert.is_of(model, _CLASSIFIER):
        _check_classifier(model)
        _check_classes(inert.state(model), default_class)
        booster = inert.state(model).get("_Booster")
    else:
        booster = model
        check_default_class(default_class)
    if not inert.is_of(booster, _BOOSTER):
        raise NotUsable(_not_trained() if inert.is_of(model, _CLASSIFIER) else _named(model))
    _check_own_attributes(model, "_Booster")
    _check_own_attributes(booster)
    attributes = inert.state(booster)
    text = attributes.get("_handle", attributes.get("handle"))  # before LightGBM 4: handle
    if type(text) is not str or len(text) > MOST_BYTES["model.txt"]:
        raise NotUsable(_not_trained())
    return _as_predicted(text, attributes.get("best_iteration"))


def check_default_class(default_class: str | None) -> None:
    """A Booster knows no names of classes: LightGBM calls default 1. Raises NotUsable for another name."""
    if default_class is not None and not _is_class(1, default_class):
        raise NotUsable(
            "le modèle est un Booster, qui donne la probabilité de la classe 1 ; "
            "omettez « --default-class », ou entraînez-le avec 1 pour le défaut"
        )


def is_model(value: Any) -> bool:
    """Whether the value may be a model by itself, of LightGBM or of another library."""
    name = inert.name_of(value) if isinstance(value, Object) else None
    return name is not None and name.module.partition(".")[0] in {"lightgbm", *_LIBRARIES, *_OF_CODE}


def _only_step(model: Any) -> Any:
    """The last step of a Pipeline that has no other step which does something."""
    if not (isinstance(model, Object) and model.maker == Name("sklearn.pipeline", _PIPELINE)):
        return model
    steps = inert.state(model).get("steps")
    if not (type(steps) is list and steps and all(type(one) is tuple and len(one) == 2 for one in steps)):
        raise NotUsable("le Pipeline de scikit-learn n’a pas d’étapes lisibles ; donnez le modèle seul")
    _check_own_attributes(model, "steps")
    *before, (_, last) = steps
    working = [(name, step) for name, step in before if step not in (None, "passthrough")]
    if working:
        names = ", ".join(f"« {shown(name)} » ({_class_of(step)})" for name, step in working[:5])
        raise NotUsable(
            f"le Pipeline prépare les données avant le modèle, par {names} ; "
            "entraînez le modèle sur les colonnes préparées, et donnez-le seul"
        )
    return _only_step(last)


def _check_own_attributes(model: Any, looked_at: str | None = None) -> None:
    """Refuse what an author has put on a model that LightGBM does not put there, and that computes.

    Among the names of a class's own methods, such an attribute takes the method's place. `looked_at`: the
    attribute that the caller looks at.
    """
    for name, value in inert.state(model).items():
        for one in [] if name == looked_at else unused.working(value, _WRITTEN.get(name, ())):
            raise NotUsable(
                f"le modèle porte l’attribut '{shown(name)}' ({unused.called(one)}), que LightGBM n’a pas "
                "écrit et que le service n’appellerait pas ; donnez le modèle sans cet attribut"
            )


def _check_classifier(model: Object) -> None:
    attributes = inert.state(model)
    objective = arrays.plain(attributes.get("_objective", attributes.get("objective")))
    if isinstance(objective, Name | Object):
        raise NotUsable(
            "le modèle a un objectif personnalisé, dont les scores ne sont pas des probabilités ; "
            "entraînez-le avec objective='binary'"
        )
    others = inert.pairs(attributes.get("_other_params"))
    if arrays.plain(others.get("pred_early_stop")) not in _OFF:
        raise NotUsable(
            "le modèle arrête ses prédictions avant le dernier arbre (pred_early_stop) ; "
            "entraînez-le sans ce paramètre"
        )


def _check_classes(attributes: dict[Any, Any], default_class: str | None) -> None:
    """LightGBM sorts the classes, and its probability is that of the last one, which must mean default."""
    found = arrays.values(attributes.get("_classes"))
    if found is None and attributes.get("_classes") is not None:
        raise NotUsable(
            "les classes du modèle sont d’un type que ce service ne lit pas ; "
            "entraînez-le avec 1 pour le défaut, 0 sinon"
        )
    if found is None:
        raise NotUsable(_not_trained())
    if len(found) != 2:
        raise NotUsable(
            f"le modèle connaît {len(found)} classe{'s' if len(found) > 1 else ''} ; "
            "entraînez-le avec deux : 1 pour le défaut, 0 sinon"
        )
    other, last = (_class_name(one) for one in found)
    if default_class is None:
        if not _are_zero_and_one(found):
            raise NotUsable(
                f"les classes du modèle sont « {other} » et « {last} », et non 0 et 1 ; "
                f"si « {last} » est le défaut, dites-le avec « --default-class »"
            )
    elif _is_class(found[0], default_class):
        raise NotUsable(
            f"le modèle donne la probabilité de la classe « {last} », et non de « {other} » ; "
            "entraînez-le de nouveau avec 1 pour le défaut et 0 pour les autres"
        )
    elif not _is_class(found[1], default_class):
        raise NotUsable(
            f"les classes du modèle sont « {other} » et « {last} » : « --default-class » n’en nomme aucune"
        )


def _is_class(value: Any, named: str) -> bool:
    """Whether an operator who writes `named` means this class. « 1 » means 1.0 and True too."""
    number = arrays.number(value)
    if number is None or named == str(number):
        return named == _class_name(value)
    try:
        return float(named) == number
    except ValueError:
        return False


def _class_name(value: Any) -> str:
    found = arrays.number(value)
    return shown(value if found is None else found)


def _are_zero_and_one(classes: Sequence[Any]) -> bool:
    numbers = [arrays.number(one) for one in classes]
    return None not in numbers and numbers == [0, 1]


def _as_predicted(text: str, best_iteration: Any) -> str:
    """Cut to the best iteration: LightGBM predicts up to there, although it writes all trees.

    Raises NotUsable, model_text.BadModelText.
    """
    best = -1 if best_iteration is None else arrays.number(best_iteration)
    if type(best) is not int:
        raise NotUsable("'best_iteration' n’est pas un nombre entier ; entraînez le modèle de nouveau")
    return model_text.first_trees(text, best) if best > 0 else text


def _not_trained() -> str:
    return "le modèle n’est pas entraîné : il ne contient aucun texte de LightGBM ; appelez « fit » d’abord"


def _named(model: Any) -> str:
    """What a value is that is no classifier of LightGBM's."""
    name = inert.name_of(model)
    if name is None:
        return f"le modèle n’est ni un LGBMClassifier entraîné ni un Booster de LightGBM ; {ONLY_LIGHTGBM}"
    library, kind = name.module.partition(".")[0], name.name
    if library in _OF_CODE:
        return (
            f"le modèle est du code que {library} a écrit, et qu’il faudrait exécuter ; "
            "donnez le LGBMClassifier lui-même"
        )
    if kind in _CALIBRATED:
        return (
            "le modèle est un CalibratedClassifierCV, qui corrige les probabilités de ses modèles ; "
            "donnez un LGBMClassifier dont les probabilités sont déjà calibrées"
        )
    if kind in _SEARCHES:
        return f"le modèle est un {kind} ; donnez le modèle qu’il a trouvé (best_estimator_)"
    if kind in _NOT_CLASSIFIERS and library == "lightgbm":
        return f"le modèle est un {kind}, qui n’estime pas une probabilité ; entraînez un LGBMClassifier"
    if library in _LIBRARIES:
        return f"le modèle est un {shown(kind)} de {_LIBRARIES[library]} ; {ONLY_LIGHTGBM}"
    return f"le modèle est un objet de la classe « {shown(f'{name.module}.{name.name}')} » ; {ONLY_LIGHTGBM}"


def _class_of(value: Any) -> str:
    name = inert.name_of(value)
    return type(value).__name__ if name is None else shown(name.name)
