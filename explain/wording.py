"""How features, values and shares are said in French, so that a loan officer can read them aloud."""

from collections.abc import Callable
from dataclasses import dataclass

NO_BREAK, NARROW = "\u00a0", "\u202f"
_READABLE = 1e15
_DAYS_PER_YEAR, _MONTHS_PER_YEAR = 365.25, 12


@dataclass(frozen=True)
class Words:
    """A feature in words. `said`: a value with its unit. `is_feminine`: the noun, for « inconnue ».

    `more`, `fewer`: what is true of the other clients who have a greater value, or a lower one. `descends`: a
    greater value is said as a smaller one, as of days before today.
    """

    noun: str
    said: Callable[[float], str]
    is_feminine: bool = False
    more: str = "ont plus"
    fewer: str = "ont moins"
    descends: bool = False

    @property
    def unknown(self) -> str:
        return f"{self.noun} {'inconnue' if self.is_feminine else 'inconnu'}"


def number(value: float, decimals: int = 0) -> str:
    """1823436.4 as « 1 823 436 », with a true minus sign; what nobody could read aloud, by its size."""
    if not abs(value) < _READABLE:
        return f"{value:.0e}".replace("-", "\u2212")
    text = f"{value:,.{decimals}f}".replace(",", NARROW).replace(".", ",")
    return text.replace("-", "\u2212") if float(f"{value:.{decimals}f}") else text.lstrip("-")


def digits(value: float, most: int) -> str:
    """With so many decimals at the most, and without zeros at the end."""
    text = number(value, most)
    return text.rstrip("0").rstrip(",") if "," in text else text


def percent(share: float) -> str:
    """0.934 as « 93 % »; below one per cent with a decimal."""
    return f"{number(100 * share, int(0 < abs(100 * share) < 0.95))}{NO_BREAK}%"


def points(probability: float) -> str:
    """0.0314 as « 3,1 points » of probability. The singular ends at 2."""
    tenths = round(1000 * abs(probability))
    return f"{number(tenths / 10, 1)} point{'s' if tenths >= 20 else ''}"


def count(one: str, decimals: int) -> Callable[[float], str]:
    """What says so many of something: « 1 échéance », « 13,3 échéances »."""

    def said(value: float) -> str:
        text = digits(value, decimals)
        return f"{text} {one if abs(round(value, decimals)) < 2 else f'{one}s'}"

    return said


def clients(share: float) -> str:
    """0.934 as « 93 % des clients ». Only what is all of them is said so, and only what is none."""
    if share == 1.0:
        return "tous les clients"
    if share > 0.995:
        return f"plus de 99{NO_BREAK}% des clients"
    if 0.0 < share < 0.0005:
        return f"moins de 0,1{NO_BREAK}% des clients"
    return f"{percent(share)} des clients"


def apart(words: Words, one: float, other: float) -> tuple[str, str]:
    """Two values in words, with so many digits that they differ."""
    said = words.said(one), words.said(other)
    for decimals in range(1, 18):
        if said[0] != said[1]:
            break
        said = number(one, decimals), number(other, decimals)
    return said


def amount(value: float) -> str:
    """To the cent, and without zeros at the end."""
    return digits(value, 2)


def _score(value: float) -> str:
    return number(value, 2)


def _decimal(value: float) -> str:
    return number(value, 1)


def _age(days: float) -> str:
    """Of negative days: « 34 ans »."""
    return _years(-days / _DAYS_PER_YEAR)


def _years(years: float) -> str:
    """Completed years; below two, completed months."""
    if 0 <= years < 2:
        return f"{number(int(years * _MONTHS_PER_YEAR))} mois"
    return f"{number(int(years))} ans"


_MORE_RECENT = ("en ont une plus récente", "en ont une plus ancienne")
WORDS = {
    "EXT_SOURCE_1": Words("score externe 1", _score),
    "EXT_SOURCE_2": Words("score externe 2", _score),
    "EXT_SOURCE_3": Words("score externe 3", _score),
    "AMT_CREDIT": Words("montant du crédit", amount),
    "AMT_GOODS_PRICE": Words("prix du bien", amount),
    "CREDIT_GOODS_RATIO": Words("crédit rapporté au prix du bien", percent),
    "CREDIT_TERM": Words("durée", count("échéance", 1), is_feminine=True),
    "AMT_ANNUITY": Words("échéance", amount, is_feminine=True),
    "ANNUITY_INCOME_PERCENT": Words("échéance rapportée au revenu", percent, is_feminine=True),
    "ANNUITY_BIRTH_RATIO": Words("échéance par année d’âge", amount, is_feminine=True),
    "DEBT_CREDIT_RATIO": Words("part restant à rembourser des crédits pris ailleurs", percent, True),
    "INSTA_AMT_PAYMENT": Words("paiement moyen des crédits passés", amount),
    "INSTA_NUM_INSTALMENT_VERSION": Words("version moyenne des échéanciers passés", _decimal, True),
    "POS_CNT_INSTALMENT_FUTURE": Words("nombre moyen d’échéances restantes des achats à crédit", _decimal),
    "PREV_CNT_PAYMENT": Words("durée moyenne des demandes passées", count("échéance", 1), True),
    "DAYS_BIRTH": Words("âge", _age, more="sont plus jeunes", fewer="sont plus âgés", descends=True),
    "DAYS_ID_PUBLISH": Words("ancienneté de la pièce d’identité", _age, True, *_MORE_RECENT, descends=True),
    "DAYS_REGISTRATION": Words("ancienneté de l’enregistrement", _age, True, *_MORE_RECENT, descends=True),
}


def of(feature: str) -> Words:
    """The words of a feature; of one that nobody has described, its name."""
    return WORDS.get(feature) or Words(f"variable {feature}", _plain, is_feminine=True)


def _plain(value: float) -> str:
    """To six digits, or whole."""
    text = f"{value:.6g}"
    decimals = len(text.partition(".")[2])
    return text.replace("-", "\u2212") if "e-" in text else number(value, 0 if "e" in text else decimals)
