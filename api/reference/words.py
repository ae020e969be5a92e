"""The French words for attributes and groups of clients, as the API says them."""

from typing import Final

ATTRIBUTES: Final = {"age band": "Âge", "sex": "Sexe"}
GROUPS: Final = {
    "under 30": "Moins de 30 ans",
    "30 to 39": "De 30 à 39 ans",
    "40 to 49": "De 40 à 49 ans",
    "50 to 59": "De 50 à 59 ans",
    "60 and over": "60 ans et plus",
    "women": "Femmes",
    "men": "Hommes",
}
