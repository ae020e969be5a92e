"""A decision's receipt in French, as a loan officer or a client reads it, with every digit."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from explain import wording
from features.catalogue import BY_NAME
from journal import events, ids
from journal.reading import Record

_MISSING, _DAYS = "non renseigné", "jours négatifs"
_ERASED = "effacées"
_OF_A_CALL, _REFUSED = "son lot est sans réponse, ou encore en cours", "un refus est parti à sa place"
_INTACT = "conforme à son empreinte"
_CHANGED = "MODIFIÉ\u00a0: il n’est pas conforme à son empreinte"


def shown(decision: Record, about: Iterable[Record], *, is_answered: bool) -> str:
    """`about`: the events about the decision."""
    return "\n".join(
        [*_decision(decision, is_answered), *_inputs(decision), *_sequel(about), _place(decision)]
    )


def _decision(one: Record, is_answered: bool) -> Iterator[str]:
    kept, model, client = one.kept, one.model, one.client
    if model is None:
        raise ValueError("no receipt")
    yield f"Décision {ids.written(one.id)}"
    if is_answered:
        yield f"  Rendue le {_moment(one.time)} par {kept.door}"
    else:
        yield f"  Calculée le {_moment(one.time)} par {kept.door}"
        yield f"  Jamais rendue\u00a0: {_OF_A_CALL if kept.call_id else _REFUSED}"
    if kept.caller:
        yield f"  Jeton : {kept.caller}"
    if kept.call_id:
        yield f"  Lot : {ids.written(kept.call_id)}"
    if client is not None:
        yield f"  Requête : {client.request_id}"
        yield f"  Référence du client : {client.client_reference or 'aucune'}"
    version = "servi depuis un fichier" if model.version is None else f"version {model.version}"
    yield f"  Modèle : {model.name}, {version}, empreinte {model.digest}, code {model.code}"
    yield f"Réponse : {kept.outputs[0]}"
    for name, value in zip(model.columns[1:], kept.outputs[1:], strict=True):
        yield f"  {name} : {_number(float(value))}"


def _inputs(one: Record) -> Iterator[str]:
    client, model = one.client, one.model
    if client is None or model is None:
        yield f"Données : {_ERASED}"
        return
    yield "Données"
    for name, value in zip(model.features, client.inputs, strict=True):
        yield f"  {_label(name)} : {_number(value)}{_in_years(name, value)}"


def _label(name: str) -> str:
    """With the feature's unit, where it is one of the catalogue."""
    known = BY_NAME.get(name)
    return name if known is None else f"{known.label} ({name}, {known.unit})"


def _in_years(name: str, value: float) -> str:
    """What reasons say of negative days, beside all their digits."""
    is_past = name in BY_NAME and BY_NAME[name].unit == _DAYS and value < 0
    return f", soit {wording.of(name).said(value)}" if is_past else ""


def _sequel(about: Iterable[Record]) -> Iterator[str]:
    said = [f"  {_moment(one.time)} : {_said(one)}" for one in about]
    yield from ["Suites", *said] if said else ["Suites : aucune"]


def _said(one: Record) -> str:
    match one.event:
        case events.Review(outcome=outcome, reviewer=reviewer, reason=reason):
            reason = "motif effacé" if one.is_erased else f"« {reason} »"
            return f"revue par {reviewer}, {'accordé' if outcome == events.ACCEPT else 'refusé'}, {reason}"
        case events.Erasure(by=by, why=why):
            return f"données effacées par {by}, « {why} »"
        case events.Hold(by=by, why=why):
            return f"conservation imposée par {by}, « {why} »"
        case events.Release(by=by, why=why):
            return f"conservation levée par {by}, « {why} »"
        case events.Unanswered():
            return "inscrit qu’un refus est parti à la place de la réponse"
    return one.kind.name.lower()


def _place(one: Record) -> str:
    place = f"Enregistrement {one.position} du journal, numéro {one.sequence} de l’écrivain {one.writer}"
    return f"{place}, {_INTACT if one.is_intact else _CHANGED}"


def _moment(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1e6, UTC):%d/%m/%Y à %H:%M:%S} (UTC)"


def _number(value: float) -> str:
    """Every digit that the double has, with a decimal comma."""
    if value != value:
        return _MISSING
    return repr(value).removesuffix(".0").replace(".", ",").replace("-", "\u2212")
