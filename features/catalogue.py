"""The catalogue of the features: what each number means, where it comes from, and its usual range.

The catalogue only documents. Which features a model requires is in the model's own list.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from features.identities import IDENTITIES


@dataclass(frozen=True)
class Feature:
    """One input of the model, explained for a loan officer and for a data engineer.

    `low` and `high` are the 1st and 99th percentiles of real Home Credit clients: a hint, never a limit.
    `example` is the value in the documented request, which describes no real person.
    """

    name: str
    label: str
    meaning: str
    unit: str
    table: str
    formula: str
    low: float
    high: float
    example: float

    @property
    def usual(self) -> tuple[float, float]:
        """`low` and `high` to two digits, which is as much as they mean for somebody else's clients."""
        return float(f"{self.low:.2g}"), float(f"{self.high:.2g}")


_APPLICATION = "application"

CATALOGUE: tuple[Feature, ...] = (
    Feature(
        "AMT_ANNUITY",
        label="Échéance",
        meaning="Montant remboursé à chaque échéance du crédit demandé.",
        unit="unité monétaire",
        table=_APPLICATION,
        formula="AMT_ANNUITY",
        low=5876.37,
        high=69786.54,
        example=15000,
    ),
    Feature(
        "AMT_CREDIT",
        label="Montant du crédit",
        meaning="Montant total du crédit demandé.",
        unit="unité monétaire",
        table=_APPLICATION,
        formula="AMT_CREDIT",
        low=76410.0,
        high=1823436.45,
        example=200000,
    ),
    Feature(
        "AMT_GOODS_PRICE",
        label="Prix du bien",
        meaning="Prix du bien que le crédit finance.",
        unit="unité monétaire",
        table=_APPLICATION,
        formula="AMT_GOODS_PRICE",
        low=67500.0,
        high=1800000.0,
        example=180000,
    ),
    Feature(
        "CREDIT_TERM",
        label="Durée du crédit",
        meaning="Nombre d’échéances que représente le crédit.",
        unit="échéances",
        table=_APPLICATION,
        formula=IDENTITIES["CREDIT_TERM"].text,
        low=8.427,
        high=37.7773,
        example=60,
    ),
    Feature(
        "DAYS_BIRTH",
        label="Âge",
        meaning="Âge du client à la demande.",
        unit="jours négatifs",
        table=_APPLICATION,
        formula="DAYS_BIRTH",
        low=-24427.34,
        high=-8219.82,
        example=-12000,
    ),
    Feature(
        "DAYS_ID_PUBLISH",
        label="Pièce d’identité",
        meaning="Temps écoulé à la demande depuis le dernier changement de pièce d’identité.",
        unit="jours négatifs",
        table=_APPLICATION,
        formula="DAYS_ID_PUBLISH",
        low=-5501.0,
        high=-59.0,
        example=-3000,
    ),
    Feature(
        "DAYS_REGISTRATION",
        label="Enregistrement",
        meaning="Temps écoulé à la demande depuis le dernier enregistrement.",
        unit="jours négatifs",
        table=_APPLICATION,
        formula="DAYS_REGISTRATION",
        low=-13805.26,
        high=-53.96,
        example=-4000,
    ),
    Feature(
        "EXT_SOURCE_1",
        label="Score externe 1",
        meaning="Score normalisé d’une première source externe ; manquant plus d’une fois sur deux.",
        unit="de 0 à 1",
        table=_APPLICATION,
        formula="EXT_SOURCE_1",
        low=0.0852,
        high=0.8849,
        example=0.5,
    ),
    Feature(
        "EXT_SOURCE_2",
        label="Score externe 2",
        meaning="Score normalisé d’une deuxième source externe.",
        unit="de 0 à 1",
        table=_APPLICATION,
        formula="EXT_SOURCE_2",
        low=0.0333,
        high=0.7829,
        example=0.7,
    ),
    Feature(
        "EXT_SOURCE_3",
        label="Score externe 3",
        meaning="Score normalisé d’une troisième source externe ; manquant pour un client sur cinq.",
        unit="de 0 à 1",
        table=_APPLICATION,
        formula="EXT_SOURCE_3",
        low=0.0554,
        high=0.8358,
        example=0.6,
    ),
    Feature(
        "DEBT_CREDIT_RATIO",
        label="Dette sur crédits",
        meaning="Part restant due des crédits déclarés par d’autres banques, en moyenne.",
        unit="rapport",
        table="bureau",
        formula="mean(AMT_CREDIT_SUM_DEBT / AMT_CREDIT_SUM), un rapport absent ou infini comptant pour 0",
        low=0.0,
        high=0.985043,
        example=0.3,
    ),
    Feature(
        "ANNUITY_BIRTH_RATIO",
        label="Échéance par année d’âge",
        meaning="Échéance rapportée à l’âge du client en années.",
        unit="unité monétaire",
        table=_APPLICATION,
        formula=IDENTITIES["ANNUITY_BIRTH_RATIO"].text,
        low=116.3537,
        high=1939.0882,
        example=0.02,
    ),
    Feature(
        "ANNUITY_INCOME_PERCENT",
        label="Échéance sur revenu",
        meaning="Échéance rapportée au revenu du client.",
        unit="rapport",
        table=_APPLICATION,
        formula=IDENTITIES["ANNUITY_INCOME_PERCENT"].text,
        low=0.04,
        high=0.4864,
        example=0.1,
    ),
    Feature(
        "CREDIT_GOODS_RATIO",
        label="Crédit sur prix du bien",
        meaning="Montant du crédit rapporté au prix du bien.",
        unit="rapport",
        table=_APPLICATION,
        formula=IDENTITIES["CREDIT_GOODS_RATIO"].text,
        low=1.0,
        high=1.4224,
        example=1.1,
    ),
    Feature(
        "INSTA_AMT_PAYMENT",
        label="Paiement moyen",
        meaning="Montant moyen des échéances payées sur les crédits précédents.",
        unit="unité monétaire",
        table="installments_payments",
        formula="mean(AMT_PAYMENT)",
        low=2200.71,
        high=109786.0,
        example=10000,
    ),
    Feature(
        "INSTA_NUM_INSTALMENT_VERSION",
        label="Échéancier",
        meaning="Numéro de version moyen, qui change avec l’échéancier, des crédits précédents.",
        unit="numéro de version",
        table="installments_payments",
        formula="mean(NUM_INSTALMENT_VERSION)",
        low=0.0,
        high=1.91667,
        example=3,
    ),
    Feature(
        "POS_CNT_INSTALMENT_FUTURE",
        label="Reste à payer",
        meaning="Nombre moyen d’échéances restant à payer sur les crédits à la consommation précédents.",
        unit="échéances",
        table="POS_CASH_balance",
        formula="mean(CNT_INSTALMENT_FUTURE)",
        low=1.345,
        high=33.34,
        example=2,
    ),
    Feature(
        "PREV_CNT_PAYMENT",
        label="Durée des crédits précédents",
        meaning="Durée moyenne des crédits demandés auparavant.",
        unit="échéances",
        table="previous_application",
        formula="mean(CNT_PAYMENT)",
        low=3.0,
        high=43.8,
        example=12,
    ),
)

# Columns of an application that no model has as a feature, and that ratios are made of.
TERM_LABELS = {"AMT_INCOME_TOTAL": "Revenu"}

BY_NAME: dict[str, Feature] = {feature.name: feature for feature in CATALOGUE}


# Amounts and ratios of one loan, which fit each other: those of the documented request do not.
FITTING_LOAN: dict[str, float] = {
    "AMT_CREDIT": 450_000,
    "AMT_ANNUITY": 22_000,
    "AMT_GOODS_PRICE": 380_000,
    "CREDIT_TERM": 20.4545,
    "CREDIT_GOODS_RATIO": 1.1842,
    "ANNUITY_INCOME_PERCENT": 0.16923,
    "ANNUITY_BIRTH_RATIO": 669.17,
}
_TO_EXPLAIN = FITTING_LOAN | {
    "EXT_SOURCE_1": 0.4,
    "EXT_SOURCE_2": 0.3,
    "EXT_SOURCE_3": 0.3,
    "INSTA_NUM_INSTALMENT_VERSION": 1,
}


def example_to_explain(names: Iterable[str]) -> dict[str, float]:
    """A client whose values are usual and fit each other: changes of the loan can be offered."""
    client = example_client(names)
    return client | {name: value for name, value in _TO_EXPLAIN.items() if name in client}


def example_client(names: Iterable[str]) -> dict[str, float]:
    """The client of the documented request, with 0 for a feature that is not in the catalogue."""
    return {name: BY_NAME[name].example if name in BY_NAME else 0 for name in names}
