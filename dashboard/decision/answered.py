"""A decision as the officer sees it: in words, shape and colour, with its receipt and its reasons."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import labels
from dashboard.drawing import scale
from dashboard.numbers import in_percent

_BOXES = (st.success, st.warning, st.error)


@dataclass(frozen=True)
class Answered:
    """`texts`: what was typed when it was asked for. `zone`: the number of its label.

    `explanation`: the API's, or `silence`, why there is none.
    """

    texts: Mapping[str, str]
    decision: Mapping[str, Any]
    zone: int
    receipt: str | None
    explanation: Mapping[str, Any] | None
    silence: str = ""

    def show(self, *, is_stale: bool) -> None:
        """`is_stale`: values have been changed since. The decision is not theirs."""
        word = f"{labels.SHAPES[self.zone]} {labels.WORDS[self.zone]}"
        if is_stale:
            st.info("Valeurs modifiées\u00a0: la décision ci-dessous est celle des valeurs d’avant.")
            st.markdown(f"### :gray[{word}\u00a0: {self.decision['prediction']}]")
        else:
            _BOXES[self.zone](f"### {word}\u00a0: {self.decision['prediction']}")
        st.image(
            scale(self.decision, self.zone, labels.SHAPES[self.zone]), width="stretch", alt=self._in_words()
        )
        if self.receipt is not None:
            st.caption(f"Reçu {self.receipt}")
        if not is_stale:
            self._explain()

    def _in_words(self) -> str:
        names = ("probability_class_1", "lower_bound", "upper_bound")
        probability, lower, upper = (in_percent(self.decision[name], 2) for name in names)
        return f"Probabilité de défaut de {probability}\u00a0; zone grise de {lower} à {upper}."

    def _explain(self) -> None:
        """Why, what somebody should look at, and what would change the decision, which stands without it."""
        if self.explanation is None:
            st.caption(self.silence)
            return
        reasons, offers = self.explanation["reasons"], self.explanation["offers"]
        _listed("À vérifier", _sentences(self.explanation["warnings"]))
        _listed("Ce qui parle pour le crédit", _sentences(reasons["for"]))
        _listed("Ce qui parle contre lui", _sentences(reasons["against"]))
        changes = [one["sentence"] for one in [*offers["found"], offers["worse"]] if one]
        _listed("Ce qui changerait la décision", [offers["sentence"], *changes])


def _sentences(found: Iterable[Mapping[str, Any]]) -> list[str]:
    return [one["sentence"] for one in found]


def _listed(title: str, sentences: list[str]) -> None:
    if sentences:
        st.subheader(title, anchor=False)
        st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
