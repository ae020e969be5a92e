"""Why a past decision is not shown, explained or reviewed, each with its status and French sentence."""

from mlflow_model.errors import ScoringError, TryLater


class VersionGone(ScoringError):
    """The version of a past decision is not in the registry any more."""

    status = 404

    def __init__(self, name: str, version: str) -> None:
        super().__init__(
            f"La version {version} de {name}, qui a statué, n’est plus dans le registre : "
            "la décision ne peut pas être expliquée."
        )


class VersionChanged(ScoringError):
    """The registry has another bundle under the number of the version that decided, or a damaged one."""

    status = 409

    def __init__(self, name: str, version: str) -> None:
        super().__init__(
            f"La version {version} de {name} n’est plus dans le registre telle qu’elle a statué : "
            "la décision ne peut pas être expliquée."
        )


class DecidedByFile(ScoringError):
    """A model that was served from a file has decided. Only while it is served can it be asked again."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "Un modèle servi depuis un fichier a statué, et il n’est plus servi : "
            "la décision ne peut pas être expliquée."
        )


class VersionOutOfReach(TryLater):
    """The registry does not answer, or there is no room for a copy of the version that decided."""

    def __init__(self) -> None:
        super().__init__("Le registre ne donne pas la version qui a statué : réessayez plus tard.")


class JournalDamaged(ScoringError):
    """A record of the journal, or its file, is not what was written. Another attempt finds the same."""

    def __init__(self) -> None:
        super().__init__("Le journal est endommagé : « python -m journal verify » dit où.")


class JournalSilent(TryLater):
    """The journal cannot be read, or cannot be added to: locked, full, gone."""

    def __init__(self) -> None:
        super().__init__("Le journal ne répond pas : réessayez dans une seconde.")


class JournalTooSlow(TryLater):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"Le journal n’a pas répondu en {seconds:.0f} s : réessayez plus tard.")


class TooManyQuestions(TryLater):
    """All places for questions to the journal are taken."""

    def __init__(self) -> None:
        super().__init__("Trop de questions sont posées au journal à la fois : réessayez dans une seconde.")


class JournalAbsent(ScoringError):
    status = 404

    def __init__(self) -> None:
        super().__init__("Ce service ne tient pas de journal : il ne connaît aucune décision passée.")


class BadQuestion(ScoringError):
    """What is asked of the journal makes no sense. `detail` says what would."""

    status = 400

    def __init__(self, detail: str) -> None:
        super().__init__(f"Question au journal refusée : {detail}")


class UnknownDecision(ScoringError):
    status = 404

    def __init__(self) -> None:
        super().__init__("Aucune décision du journal n’a ce numéro.")


class DecisionErased(ScoringError):
    status = 410

    def __init__(self) -> None:
        super().__init__(
            "Les données de cette décision ont été effacées : elle ne peut plus être ni expliquée ni revue."
        )


class NotInTheGreyZone(ScoringError):
    """The role may see and review what is to be reviewed, and nothing else."""

    status = 403

    def __init__(self) -> None:
        super().__init__("Le rôle de ce jeton d’accès ne donne accès qu’aux décisions de la zone grise.")


class ContraryReview(ScoringError):
    """Four eyes: who contradicts somebody else needs more than the role of a reviewer."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            "Une autre personne a revu cette décision en sens contraire : seul un jeton du rôle audit peut "
            "la contredire."
        )
