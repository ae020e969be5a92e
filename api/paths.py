"""Every path of the API, once: who may ask, how large a body it reads, and what each answer means.

Flask's routes, the access tokens, the OpenAPI document and the server's limits all read this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_model.errors import written_bytes

ROLES = SCORE, REVIEW, AUDIT = ("score", "review", "audit")
# The most clients of a batch, in text (JSON or CSV) and in Arrow.
MOST_IN_TEXT, MOST_IN_ARROW = 10_000, 100_000

UNKNOWN_PATH = "unknown path"  # how the log and the counts call one that is not in the table

_CLIENT_BYTES, _BATCH_BYTES = 64 * 1024, 16 * 1024 * 1024

_NO_MODEL = "Aucun modèle n’est chargé, ou trop de corps arrivent à la fois (avec la raison et Retry-After)."
# Stands in a path for one part that is not empty: a decision's number.
_ID = "<id>"
_NOT_NOW = _NO_MODEL.replace("chargé, ou", "chargé, la décision ne peut être enregistrée, ou")
_WHO = {
    "401": "Jeton d’accès absent ou inconnu, là où le service en demande un.",
    "403": "Le rôle du jeton d’accès ne suffit pas.",
}


@dataclass(frozen=True, eq=False)
class Endpoint:
    """`roles`: whose token may ask where tokens are asked for; None: everybody may, since it tells of the
    service and decides nothing.

    `body_limit`: in bytes; 0 where no body is read. `answers`: the meaning of each status, for
    /openapi.json; a page for people has none. `needs_model`: a body is not read while there is none.
    `asks_the_journal`: it is there only with a journal, and no cache may keep an answer.
    """

    path: str
    method: str
    summary: str
    answers: Mapping[str, str]
    roles: frozenset[str] | None = None
    body_limit: int = 0
    needs_model: bool = False
    asks_the_journal: bool = False


PREDICT = Endpoint(
    "/predict",
    "POST",
    "Statuer sur une demande.",
    {
        "200": "La décision.",
        "400": "Variables manquantes, JSON malformé, valeur refusée ou null refusé.",
        **_WHO,
        "408": "La requête n’est pas arrivée entière en 10 s.",
        "413": f"Corps de plus de {written_bytes(_CLIENT_BYTES)}.",
        "415": "Le type de contenu n’est pas application/json, ou le corps est compressé.",
        "500": "Erreur interne, avec une référence.",
        "503": _NOT_NOW,
    },
    roles=frozenset({SCORE, REVIEW}),
    body_limit=_CLIENT_BYTES,
    needs_model=True,
)
EXPLAIN = Endpoint(
    "/explain",
    "POST",
    "Expliquer une décision, sans statuer de nouveau.",
    {
        **PREDICT.answers,
        "200": "La décision, ses raisons et ses avertissements.",
        "501": "La version servie ne sait pas expliquer ses décisions.",
        "503": "Aucun modèle n’est chargé, trop d’explications sont demandées, ou celle-ci a pris trop de "
        "temps (avec Retry-After).",
    },
    roles=PREDICT.roles,
    body_limit=_CLIENT_BYTES,
    needs_model=True,
)
BATCH = Endpoint(
    "/predict/batch",
    "POST",
    "Statuer sur plusieurs demandes : toutes, ou aucune.",
    {
        **PREDICT.answers,
        "200": "Les décisions, dans l’ordre et le format de la requête.",
        "400": "Variables manquantes, corps malformé, valeur refusée (avec sa ligne) ou aucun client.",
        "413": f"Corps ou réponse de plus de {written_bytes(_BATCH_BYTES)}, ou trop de clients.",
        "415": "Le type de contenu n’est pas l’un des trois, ou le corps est compressé.",
        "503": "Trop de lots en cours ou décisions non enregistrées (avec Retry-After), ou aucun modèle.",
    },
    roles=frozenset({SCORE}),
    body_limit=_BATCH_BYTES,
    needs_model=True,
)
_ABOUT_THE_REFERENCE = {
    **_WHO,
    "404": "Aucun portefeuille de référence, ou il n’a pas les variables de la version servie.",
    "500": "Erreur interne, avec une référence, ou un portefeuille qui ne peut pas servir.",
    "503": "Aucun modèle n’est chargé, trop de questions sont posées, ou la réponse a pris trop de temps "
    "(avec Retry-After).",
}
MODEL = Endpoint(
    "/model",
    "GET",
    "Ce qu’est la version servie : politique, variables et leur poids.",
    {
        "200": "La version.",
        **{status: _ABOUT_THE_REFERENCE[status] for status in ("401", "403", "503")},
        "500": "Erreur interne, avec une référence.",
    },
    roles=frozenset(ROLES),
)
MODEL_HISTORY = Endpoint(
    "/model/history",
    "GET",
    "Ce que le registre dit de la version servie : fiche, champions, dernier examen.",
    {
        "200": "L’historique.",
        **{status: _ABOUT_THE_REFERENCE[status] for status in ("401", "403")},
        "500": "Erreur interne, avec une référence.",
        "503": "Aucun modèle n’est chargé, le registre ne répond pas, trop de questions sont posées, ou la "
        "réponse a pris trop de temps (avec Retry-After).",
    },
    roles=frozenset(ROLES),
)
REFERENCE = Endpoint(
    "/reference",
    "GET",
    "Ce que la version servie fait des clients de référence, en totaux.",
    {"200": "Les totaux.", **_ABOUT_THE_REFERENCE},
    roles=frozenset(ROLES),
)
REFERENCE_CLIENTS = Endpoint(
    "/reference/clients",
    "GET",
    "Des clients de référence, qui n’existent pas, avec leur décision.",
    {
        "200": "Une page de clients.",
        "400": "Paramètre refusé.",
        **_ABOUT_THE_REFERENCE,
        "404": "Aucun portefeuille de référence, ou ses clients peuvent être réels.",
    },
    roles=frozenset(ROLES),
)
NEIGHBOURS = Endpoint(
    "/neighbours",
    "POST",
    "Les clients de référence les plus proches d’un client.",
    {
        **PREDICT.answers,
        **_ABOUT_THE_REFERENCE,
        "200": "Les voisins, et la place du client dans la population.",
        "404": REFERENCE_CLIENTS.answers["404"],
    },
    roles=PREDICT.roles,
    body_limit=_CLIENT_BYTES,
    needs_model=True,
)
HEALTH = Endpoint("/health", "GET", "Le processus est vivant.", {"200": "Vivant."})
READY = Endpoint(
    "/ready",
    "GET",
    "Quel modèle est servi.",
    {"200": "Nom, version, alias et politique.", "503": _NO_MODEL},
)
METRICS = Endpoint(
    "/metrics",
    "GET",
    "Ce que le service compte, pour Prometheus.",
    {
        "200": "Métriques de tous les processus.",
        **_WHO,
        "503": "Le fichier d’un processus manque ; il est refait en quelques secondes.",
    },
    roles=frozenset({AUDIT}),
)
_ASKED_OF_THE_JOURNAL = {
    "400": "Numéro, paramètre ou corps refusé.",
    **_WHO,
    "404": "Aucune décision de ce numéro, ou aucun journal.",
    "500": "Erreur interne, avec une référence, ou journal endommagé.",
    "503": "Le journal ne répond pas, ou trop de questions lui sont posées (avec Retry-After).",
}
DECISIONS = Endpoint(
    "/decisions",
    "GET",
    "Les décisions passées, la plus récente d’abord, sans les données des clients.",
    {"200": "Une page de décisions.", **_ASKED_OF_THE_JOURNAL},
    roles=frozenset({REVIEW, AUDIT}),
    asks_the_journal=True,
)
DECISION = Endpoint(
    f"/decisions/{_ID}",
    "GET",
    "Le reçu d’une décision, et ses suites.",
    {"200": "Tout ce que le journal en sait.", **_ASKED_OF_THE_JOURNAL},
    roles=DECISIONS.roles,
    asks_the_journal=True,
)
PAST_EXPLANATION = Endpoint(
    f"/decisions/{_ID}/explanation",
    "GET",
    "Expliquer une décision passée, par la version qui a statué.",
    {
        "200": "La décision, ses raisons et ses avertissements.",
        **_ASKED_OF_THE_JOURNAL,
        "404": "Aucune décision de ce numéro, aucun journal, ou une version qui n’est plus dans le registre.",
        "409": "La version n’est plus telle qu’elle a statué.",
        "410": "Les données de la décision ont été effacées.",
        "501": "La version qui a statué ne sait pas expliquer ses décisions.",
        "503": "Le journal ou le registre ne répond pas, ou trop d’explications sont demandées (avec "
        "Retry-After).",
    },
    roles=DECISIONS.roles,
    asks_the_journal=True,
)
REVIEWED = Endpoint(
    f"/decisions/{_ID}/review",
    "POST",
    "Revoir une décision : accorder ou refuser.",
    {
        "201": "La revue est inscrite au journal.",
        **_ASKED_OF_THE_JOURNAL,
        "403": "Le rôle du jeton d’accès ne suffit pas, ou une autre personne a revu la décision autrement.",
        "408": "La requête n’est pas arrivée entière en 10 s.",
        "410": "Les données de la décision ont été effacées.",
        "413": f"Corps de plus de {written_bytes(_CLIENT_BYTES)}.",
        "415": "Le type de contenu n’est pas application/json, ou le corps est compressé.",
    },
    roles=DECISIONS.roles,
    body_limit=_CLIENT_BYTES,
    asks_the_journal=True,
)
OPENAPI = Endpoint("/openapi.json", "GET", "Ce document.", {"200": "Document OpenAPI.", "503": _NO_MODEL})
DOCS = Endpoint("/docs", "GET", "La documentation, avec un formulaire d’essai.", {})
FRONT = Endpoint("/", "GET", "L’accueil, avec un exemple de requête.", {})

PATHS = (
    *(PREDICT, EXPLAIN, BATCH, DECISIONS, DECISION, PAST_EXPLANATION, REVIEWED),
    *(MODEL, MODEL_HISTORY, REFERENCE, REFERENCE_CLIENTS, NEIGHBOURS),
    *(HEALTH, READY, METRICS, OPENAPI, DOCS, FRONT),
)
_BY_PATH = {one.path: one for one in PATHS}
if len(_BY_PATH) < len(PATHS):
    raise ValueError("a path stands in the table once: who may ask for it must not depend on the order")


def find(path: str) -> Endpoint | None:
    """The endpoint of a path that was asked for; None if there is none."""
    found = _BY_PATH.get(path)
    parts = path.split("/", 3) if found is None else []
    if len(parts) > 2 and parts[2]:
        parts[2] = _ID
        return _BY_PATH.get("/".join(parts))
    return found
