"""Every French sentence that a caller can read, with its HTTP status.

Callers pass facts and read `str(error)`. The details of refused values live with the value rules, in
scoring.py, which travels inside the bundle.
"""

from collections.abc import Sequence


class ScoringError(Exception):
    """An answer other than a decision: a sentence, and the HTTP status it goes with."""

    status = 500


class MissingFeatures(ScoringError):
    status = 400

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Features manquantes : {list(names)}")


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
    def __init__(self) -> None:
        super().__init__("le corps de la requête n’est pas encodé en UTF-8")


class NoClient(BadData):
    def __init__(self) -> None:
        super().__init__("le corps de la requête ne contient aucun client")


class BodyTooLarge(BadData):
    status = 413

    def __init__(self, limit: int) -> None:
        size = f"{limit // 1024} Kio" if limit < 1024 * 1024 else f"{limit // 1024 // 1024} Mio"
        super().__init__(f"le corps de la requête dépasse la limite de {size}")


class TooManyClients(BadData):
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"le corps de la requête dépasse la limite de {limit} clients dans ce format")


class TooMuchMemory(BadData):
    status = 413

    def __init__(self) -> None:
        super().__init__("le calcul de ce lot demande trop de mémoire ; envoyez moins de clients à la fois")


class UnsupportedMediaType(BadData):
    status = 415


class NotFound(ScoringError):
    status = 404

    def __init__(self) -> None:
        super().__init__("Chemin inconnu : consultez GET /docs.")


class MethodNotAllowed(ScoringError):
    status = 405

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"Méthode non autorisée : utilisez {' ou '.join(allowed)}.")


class RequestRefused(ScoringError):
    """What the HTTP server itself refuses for any other cause."""

    def __init__(self, status: int) -> None:
        super().__init__("Requête HTTP refusée : consultez GET /docs.")
        self.status = status


class InternalError(ScoringError):
    status = 500

    def __init__(self, reference: str) -> None:
        super().__init__(f"Erreur interne du serveur (référence {reference})")


class Busy(ScoringError):
    """Every place for a batch is taken: the same request may succeed a little later."""

    status = 503

    def __init__(self) -> None:
        super().__init__("Trop de lots sont en cours de calcul : réessayez dans une seconde.")


class TooManyBodies(ScoringError):
    """Too many clients send slowly at the same time: the same request may succeed a little later."""

    status = 503

    def __init__(self) -> None:
        super().__init__("Trop de requêtes arrivent à la fois : réessayez dans une seconde.")


class CountsIncomplete(ScoringError):
    """A process's counts cannot be read: a sum without them would be less than the one before."""

    status = 503

    def __init__(self) -> None:
        super().__init__("Les compteurs sont incomplets : réessayez dans quelques secondes.")


class BatchTooSlow(ScoringError):
    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Le lot n’a pas été calculé en {seconds:.0f} s : réessayez plus tard, avec moins de clients."
        )


class Unauthorized(ScoringError):
    status = 401

    def __init__(self) -> None:
        super().__init__("Jeton d’accès absent ou inconnu (en-tête Authorization: Bearer).")


class Forbidden(ScoringError):
    status = 403

    def __init__(self) -> None:
        super().__init__("Le rôle de ce jeton d’accès ne permet pas cette requête.")


class ModelUnavailable(ScoringError):
    """Why there is no model: the API answers it with 503, register.py prints it and exits with 2."""

    status = 503


class PickleNotFound(ModelUnavailable):
    def __init__(self, name: str = "lgbm_final_model.pkl") -> None:
        super().__init__(f"Le fichier Pickle '{name}' est introuvable.")


class PickleWithoutKeys(ModelUnavailable):
    def __init__(self) -> None:
        super().__init__("Le fichier Pickle ne contient pas les bonnes clés ('model', 'features').")


class LoadingFailed(ModelUnavailable):
    """`detail` says what was wrong and ends with the way out."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"Erreur lors du chargement du modèle : {detail}")
        self.detail = detail


class CopyUnusable(LoadingFailed):
    """A copy that was verified cannot be loaded here, all the same."""

    def __init__(self) -> None:
        super().__init__("la copie locale est inutilisable ; elle est refaite dès que le registre répond")


class RollbackRefused(ModelUnavailable):
    """`detail` says why the alias stays, and ends with the way out."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"Retour à la version précédente refusé : {detail}")


class OutOfReach(LoadingFailed):
    """Nothing is said of the model: the registry does not answer, or there is no room for a copy."""


class NotUnderstood(LoadingFailed):
    """The registry answered something that no registry says. `what` must not come from the answer."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"le registre répond de façon incompréhensible ({what}) ; vérifiez MLFLOW_TRACKING_URI"
        )


class NotRegistered(LoadingFailed):
    """The registry answered, and its registration of the version has not ended, or has failed."""


class NotInRegistry(LoadingFailed):
    """The registry answered, and knows no such model, version or alias."""

    def __init__(self, attempt: str) -> None:
        super().__init__(f"{attempt} : introuvable ; lancez « python register.py »")
