"""Why the service tells nothing of its version or of reference clients: each with status and sentence."""

from collections.abc import Sequence

from mlflow_model.errors import ScoringError, TryLater


class NoReference(ScoringError):
    """The file that REFERENCE names is not there."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            "Ce service n’a pas de portefeuille de référence : son exploitant peut en nommer un (REFERENCE)."
        )


class ReferenceUnusable(ScoringError):
    """The file cannot be read, or the version refuses its clients. The log says why."""

    def __init__(self) -> None:
        super().__init__(
            "Le portefeuille de référence ne peut pas servir : son exploitant en trouve la raison dans les "
            "traces du service."
        )


class ReferenceLacksFeatures(ScoringError):
    status = 404

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"Le portefeuille de référence n’a pas ces variables de la version servie : {list(names)}"
        )


class RealClients(ScoringError):
    """The reference does not say that its clients were drawn: nobody may see one of them."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            "Les clients du portefeuille de référence peuvent être réels : le service n’en montre que des "
            "totaux (GET /reference)."
        )


class TooFewRealClients(ScoringError):
    """Totals of a few people would tell their values."""

    status = 404

    def __init__(self, fewest: int) -> None:
        super().__init__(
            f"Le portefeuille de référence a moins de {fewest} clients, qui peuvent être réels : ses "
            "totaux en diraient trop."
        )


class BadEnquiry(ScoringError):
    """A page of reference clients that there cannot be. `detail` says what there is."""

    status = 400

    def __init__(self, detail: str) -> None:
        super().__init__(f"Page de clients refusée : {detail}")


class TooManyEnquiries(TryLater):
    """All places for questions about the reference are taken, or no process can be started."""

    def __init__(self) -> None:
        super().__init__(
            "Trop de questions sont posées à la fois sur la version servie : réessayez dans une seconde."
        )


class RegistryOutOfReach(TryLater):
    """The registry does not tell a version's history. The log says why."""

    def __init__(self) -> None:
        super().__init__("Le registre ne dit rien de la version servie : réessayez plus tard.")


class EnquiryTooSlow(TryLater):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"La réponse n’a pas été calculée en {seconds:.0f} s : réessayez plus tard.")
