"""The kinds of failure that a caller can meet, each with its HTTP status and the French sentence around it.

A class with fixed words holds its whole sentence. BadData and LoadingFailed hold the beginning; the detail
after it is written where the failure is found. The details of refused values stand with the value rules, in
scoring.py, which travels inside the bundle.
"""

import re
from collections.abc import Iterable, Sequence

REGISTER_AGAIN = "réenregistrez le modèle avec « python register.py »"


def written_bytes(limit: int) -> str:
    """A limit of bytes, in French."""
    return f"{limit // 1024} Kio" if limit < 1024 * 1024 else f"{limit // 1024 // 1024} Mio"


class ScoringError(Exception):
    """An answer that is not a decision: `str(error)` is the sentence, with an HTTP status and headers."""

    status = 500
    headers: tuple[tuple[str, str], ...] = ()


class TryLater(ScoringError):
    """The same request may succeed a little later."""

    status = 503
    headers = (("Retry-After", "1"),)


class MissingFeatures(ScoringError):
    status = 400

    def __init__(self, names: Sequence[str], found: Iterable[str] = ()) -> None:
        super().__init__(f"Features manquantes : {listed_as_missing(names, found)}")


def listed_as_missing(names: Sequence[str], found: Iterable[str]) -> str:
    """These names, and those found that differ from them by case or blanks alone.

    Other names are not shown, since a misplaced value may be among them.
    """
    by_letters: dict[str, str] = {}
    for one in found:
        by_letters.setdefault(_letters(one), re.sub(r"\s+", "␣", one))
    alike = [
        f"{name} trouvé comme {by_letters[_letters(name)]}" for name in names if _letters(name) in by_letters
    ]
    return f"{list(names)} ({', '.join(alike)})" if alike else f"{list(names)}"


def _letters(name: str) -> str:
    return "".join(name.split()).casefold()


class BadData(ScoringError):
    status = 400

    def __init__(self, detail: str) -> None:
        super().__init__(f"Erreur lors du traitement des données : {detail}")
        self.detail = detail


class BadRow(BadData):
    """`row` is the client's number in the batch, counted from 1."""

    def __init__(self, row: int, detail: str) -> None:
        super().__init__(f"ligne {row} : {detail}")


class NotUtf8(BadData):
    def __init__(self, way_out: str = "") -> None:
        super().__init__("le corps de la requête n’est pas encodé en UTF-8" + way_out)


class NoClient(BadData):
    def __init__(self) -> None:
        super().__init__("le corps de la requête ne contient aucun client")


class BodyTooLarge(BadData):
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"le corps de la requête dépasse la limite de {written_bytes(limit)}")


class TooManyClients(BadData):
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"le corps de la requête dépasse la limite de {limit} clients dans ce format")


class TooMuchMemory(BadData):
    status = 413

    def __init__(self) -> None:
        super().__init__("le calcul de ce lot demande trop de mémoire ; envoyez moins de clients à la fois")


class AnswerTooLarge(BadData):
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"la réponse dépasse la limite de {written_bytes(limit)} ; "
            "demandez moins de colonnes par keep, ou envoyez moins de clients à la fois"
        )


class UnsupportedMediaType(BadData):
    status = 415


class CannotExplain(ScoringError):
    """The version decides, and was made before versions could explain, or its model cannot be explained."""

    status = 501

    def __init__(self) -> None:
        super().__init__(
            f"La version servie ne sait pas expliquer ses décisions ; {REGISTER_AGAIN}, "
            "ou prenez un autre modèle."
        )


class CannotExplainPast(ScoringError):
    status = 501

    def __init__(self) -> None:
        super().__init__("La version qui a statué ne sait pas expliquer ses décisions.")


class NotFound(ScoringError):
    status = 404

    def __init__(self) -> None:
        super().__init__("Chemin inconnu : consultez GET /docs.")


class MethodNotAllowed(ScoringError):
    status = 405

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"Méthode non autorisée : utilisez {' ou '.join(allowed)}.")
        self.headers = (("Allow", ", ".join(allowed)),)


class RequestRefused(ScoringError):
    """A request that the HTTP server itself refuses, for a cause that has no class of its own."""

    def __init__(self, status: int) -> None:
        super().__init__("Requête HTTP refusée : consultez GET /docs.")
        self.status = status


class InternalError(ScoringError):
    status = 500

    def __init__(self, reference: str) -> None:
        super().__init__(f"Erreur interne du serveur (référence {reference})")


class Busy(TryLater):
    """All places for batches are taken."""

    def __init__(self) -> None:
        super().__init__("Trop de lots sont en cours de calcul : réessayez dans une seconde.")


class TooManyBodies(TryLater):
    """Too many clients send slowly at the same time."""

    def __init__(self) -> None:
        super().__init__("Trop de requêtes arrivent à la fois : réessayez dans une seconde.")


class TooManyExplanations(TryLater):
    """Others have asked for explanations before, and one is made at a time."""

    def __init__(self) -> None:
        super().__init__("Trop d’explications sont demandées à la fois : réessayez dans une seconde.")


class JournalUnavailable(TryLater):
    """No receipt can be written, and no decision leaves without one."""

    def __init__(self) -> None:
        super().__init__(
            "La décision n’a pas pu être enregistrée, et n’est donc pas rendue : réessayez dans une seconde."
        )


class CountsIncomplete(TryLater):
    """The counts of a process cannot be read. A sum without them would be lower than the sum before."""

    def __init__(self) -> None:
        super().__init__("Les compteurs sont incomplets : réessayez dans quelques secondes.")


class BatchTooSlow(TryLater):
    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Le lot n’a pas été calculé en {seconds:.0f} s : réessayez plus tard, avec moins de clients."
        )


class ExplanationTooSlow(TryLater):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"L’explication n’a pas été calculée en {seconds:.0f} s : réessayez plus tard.")


class BadReference(ScoringError):
    status = 400

    def __init__(self) -> None:
        super().__init__("L’en-tête X-Client-Reference doit avoir de 1 à 64 caractères ASCII imprimables.")


class Unauthorized(ScoringError):
    status = 401
    headers = (("WWW-Authenticate", "Bearer"),)

    def __init__(self) -> None:
        super().__init__("Jeton d’accès absent ou inconnu (en-tête Authorization: Bearer).")


class Forbidden(ScoringError):
    status = 403

    def __init__(self) -> None:
        super().__init__("Le rôle de ce jeton d’accès ne permet pas cette requête.")


class ModelUnavailable(TryLater):
    """There is no model. The API answers with 503; register.py prints the sentence and exits with 2."""


class PickleNotFound(ModelUnavailable):
    def __init__(self, name: str = "lgbm_final_model.pkl") -> None:
        super().__init__(f"Le fichier Pickle '{name}' est introuvable.")


class PickleWithoutKeys(ModelUnavailable):
    """`way_out`: a second sentence, where there is another way than adding the keys."""

    def __init__(self, way_out: str = "") -> None:
        sentence = "Le fichier Pickle ne contient pas les bonnes clés ('model', 'features')."
        super().__init__(f"{sentence} {way_out}".rstrip())


class LoadingFailed(ModelUnavailable):
    """`detail` says what was wrong, then what to do."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"Erreur lors du chargement du modèle : {detail}")
        self.detail = detail


class CopyUnusable(LoadingFailed):
    """A verified copy cannot be loaded in this process."""

    def __init__(self) -> None:
        super().__init__("la copie locale est inutilisable ; elle est refaite dès que le registre répond")


class OutOfReach(LoadingFailed):
    """The model is not to blame: the registry does not answer, or there is no room for a copy."""


class NotUnderstood(LoadingFailed):
    """The registry answered something that no registry says. `what` must not come from the answer."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"le registre répond de façon incompréhensible ({what}) ; vérifiez MLFLOW_TRACKING_URI"
        )


class NotRegistered(LoadingFailed):
    """The registry answered that the registration of the version has not ended, or has failed."""


class NotInRegistry(LoadingFailed):
    """The registry answered that it has no such model, version or alias."""

    def __init__(self, attempt: str) -> None:
        super().__init__(f"{attempt} : introuvable ; lancez « python register.py list »")
