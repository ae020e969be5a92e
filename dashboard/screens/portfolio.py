"""The page « Portefeuille »: a file of clients is decided on, shown by label, and given back."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import costs, labels, shell
from dashboard.api_client import ApiError
from dashboard.histogram import histogram, told
from dashboard.markdown import escaped
from dashboard.numbers import counted, in_thousands
from dashboard.portfolio import counts, result
from dashboard.portfolio.files import BadFile, ClientsFile
from dashboard.portfolio.opening import opened
from dashboard.portfolio.run import LINE, MOST_REFUSED, Run

_MEGABYTES = 200
_SHOWN_AT_ONCE = 8  # refused lines
_DRAWN = 660  # pixels, where there is room
# What the session keeps.
_FILE, _RUN, _KEPT, _COST = "portfolio file", "portfolio run", "portfolio kept", "portfolio cost"
_EXPECTED = "Il est attendu si les probabilités sont justes, et si la zone grise est tranchée par le seuil."
_CLIENTS = ("client", "clients")
_VARIABLE = re.compile(r"la (?:variable|feature) '(\w+)'")  # as the API names a feature
_SHOWN = _AT, _DECISION, _PROBABILITY, _RECEIPT, _REASON = (
    "Ligne du fichier",
    "Décision",
    "Probabilité de défaut",
    "Reçu",
    "Raison",
)


def main() -> None:
    shell.title("Portefeuille")
    try:
        _page(_uploaded())
    except ApiError as error:
        shell.failure(error)


def _uploaded() -> UploadedFile | None:
    """Shown before anything is asked of the API, or the file would be lost while the API is away."""
    st.write(
        "Déposez un fichier d’une ligne par client, avec les colonnes du modèle. Les points-virgules et les "
        "virgules décimales d’un tableur français sont lus\u00a0; les milliers s’écrivent sans séparateur."
    )
    return st.file_uploader(
        "Fichier CSV ou Parquet\u00a0: 100\u202f000 clients et 200 Mo au plus", max_upload_size=_MEGABYTES
    )


def _page(uploaded: UploadedFile | None) -> None:
    """Raises ApiError."""
    specification = shell.api().specification()
    asked = specification["components"]["schemas"]["Client"]
    if uploaded is None:
        _columns(asked)
    file = _file(uploaded, asked["required"])
    if file is None:
        return
    _ask(file, specification)
    run: Run | None = st.session_state.get(_RUN)
    if run is not None and _advanced(run):
        _show(run, asked["properties"])


def _columns(asked: dict[str, Any]) -> None:
    """What a file must have, and one that has it."""
    with st.expander(f"Les {len(asked['required'])} colonnes du modèle"):
        lines = ["| Colonne | Donnée | Unité |", "| --- | --- | --- |"]
        for name in asked["required"]:
            known = asked["properties"].get(name, {})
            cells = name, known.get("title", name), known.get("x-unit", "")
            lines.append(f"| {' | '.join(map(escaped, cells))} |")
        st.markdown("\n".join(lines))
        st.download_button(
            "Télécharger un exemple (tableur français)",
            result.example(asked["required"], asked["example"]),
            "exemple.csv",
            "text/csv",
            on_click="ignore",
        )


def _file(uploaded: UploadedFile | None, features: list[str]) -> ClientsFile | None:
    """What the officer has uploaded, opened once. None without a file, or with a bad one."""
    if uploaded is None:
        _forget()
        return None
    number, file = st.session_state.get(_FILE, (None, None))
    if number != uploaded.file_id:
        _forget()
        try:
            file = opened(uploaded.getvalue(), features)
        except BadFile as error:
            file = error
        st.session_state[_FILE] = uploaded.file_id, file
    if isinstance(file, BadFile):
        st.error(escaped(str(file)))
        return None
    return file


def _forget() -> None:
    for name in (_FILE, _RUN, _KEPT, _COST):
        st.session_state.pop(name, None)


def _ask(file: ClientsFile, specification: dict[str, Any]) -> None:
    """What to keep beside the decisions, and the button that starts."""
    decision = specification["components"]["schemas"]["Decision"]["properties"]
    has_journal = "/decisions" in specification["paths"]
    parameters = specification["paths"]["/predict/batch"]["post"]["parameters"]
    most = next((one["schema"].get("maxItems") for one in parameters if one["name"] == "keep"), None)
    taken = {*decision, "decision_id", LINE, *_SHOWN}
    others = [name for name in file.others if name not in taken]
    kept = st.multiselect(
        "Colonnes à reprendre dans le résultat",
        others,
        others[:1],
        max_selections=most,
        placeholder="Aucune",
        key=_KEPT,
        persist_state="page",
        help="Par exemple le numéro du dossier. Les variables du modèle ne sont pas reprises.",
    )
    if has_journal:
        st.caption("Chaque décision est inscrite au journal, et le résultat donne le numéro de son reçu.")
    if st.button(f"Décider pour {counted(file.rows, *_CLIENTS)}", type="primary"):
        numbers = [name for name, schema in decision.items() if schema.get("type") == "number"]
        names = decision["prediction"]["enum"]
        st.session_state[_RUN] = Run(file, kept, has_journal, names, numbers)


def _advanced(run: Run) -> bool:
    """Send what is left. Whether there is something to show."""
    place = st.empty()
    try:
        while not run.is_over:
            done = run.file.rows - run.left
            text = f"{in_thousands(done)} sur {counted(run.file.rows, *_CLIENTS)}"
            place.progress(done / run.file.rows, text)
            run.advance(shell.api())
        place.empty()
    except BadFile as error:
        place.error(escaped(str(error)))
    except ApiError as error:
        place.empty()
        if run.answered:
            st.warning(f"{counted(run.left, *_CLIENTS)} sans décision : le reste du résultat est ci-dessous.")
        shell.failure(error)
    return bool(run.answered or run.refused)


def _show(run: Run, features: Mapping[str, Any]) -> None:
    if run.meets_other_version:
        st.warning(
            f"Une autre version du modèle est servie depuis le début de cet envoi\u00a0: il s’est arrêté, et "
            f"{counted(run.left, *_CLIENTS)} n’ont pas de décision. Le résultat ci-dessous est de la version "
            f"d’avant. «\u00a0Décider pour…\u00a0» recommence tout le fichier par une seule version."
        )
    _refusals(run, features)
    if not run.answered:
        return
    table = run.table()
    zones = pc.index_in(table["prediction"], pa.array(run.labels)).to_numpy()
    probabilities = table["probability_class_1"].to_numpy()
    st.subheader("Décisions", anchor=False)
    _counts(table, zones, probabilities, run)
    bounds = tuple(table[name][0].as_py() for name in ("lower_bound", "upper_bound"))
    drawn = probabilities, zones, bounds
    st.image(histogram(*drawn), alt=told(*drawn), width=_DRAWN)
    _table(table, zones, run)
    _downloads(table)


def _counts(table: pa.Table, zones: Any, probabilities: Any, run: Run) -> None:
    of_default = _cost_of_a_default(run) if "optimal_threshold" in table.column_names else None
    expected = None
    if of_default is not None:
        expected = costs.expected(probabilities, table["optimal_threshold"][0].as_py(), of_default)
    st.markdown(counts.table(zones, probabilities, expected))
    if of_default is not None:
        st.caption(f"{costs.meaning(of_default)} {_EXPECTED}")


def _cost_of_a_default(run: Run) -> float | None:
    """As the version says that decided; None where it does not, or where the API cannot be asked."""
    known = st.session_state.get(_COST)
    if known is None or known[0] is not run:  # a failure, too, is that of this run: it may have taken long
        cost = None
        with contextlib.suppress(ApiError):
            policy = shell.api(run.digest).model()["policy"]
            cost = costs.of_a_default((policy["provenance"] or {}).get("costs"))
        known = st.session_state[_COST] = (run, cost)
    found: float | None = known[1]
    return found


def _refusals(run: Run, features: Mapping[str, Any]) -> None:
    if run.has_too_many_refused:
        st.error(
            f"Plus de {MOST_REFUSED} lignes sont refusées : l’envoi s’est arrêté, et "
            f"{counted(run.left, *_CLIENTS)} n’ont pas été envoyés. Corrigez ces lignes, puis déposez un "
            "fichier des clients sans décision."
        )
    if not run.refused:
        return
    st.subheader(f"{counted(len(run.refused), 'ligne refusée', 'lignes refusées')}", anchor=False)
    st.write(
        "Ces clients n’ont pas de décision. Corrigez-les, puis déposez un fichier avec ces lignes seules. "
        + _where(run.file)
    )
    rows = sorted(run.refused.items())
    cells = zip(*(run.file.cells(row, run.keep) for row, _ in rows), strict=True)
    kept = dict(zip(map(escaped, run.keep), (list(map(escaped, one)) for one in cells), strict=True))
    with st.container(height="content" if len(rows) <= _SHOWN_AT_ONCE else 400):
        st.table(
            {
                _AT: [run.file.line(row) for row, _ in rows],
                **kept,
                _REASON: [escaped(_in_words(reason, features)) for _, reason in rows],
            },
            hide_index=True,
            alt="Lignes refusées, avec la raison",
        )


def _in_words(reason: str, features: Mapping[str, Any]) -> str:
    """The API's reason with the name of the datum before that of its column."""

    def named(found: re.Match[str]) -> str:
        label = features.get(found[1], {}).get("title")
        return f"«\u00a0{label}\u00a0» ({found[1]})" if label else found[0]

    said = _VARIABLE.sub(named, reason)
    return f"{said[0].upper()}{said[1:]}."


def _table(table: pa.Table, zones: Any, run: Run) -> None:
    st.subheader("Clients", anchor=False)
    wanted = st.pills("Afficher", labels.NAMES, selection_mode="multi", default=labels.NAMES)
    shown = np.isin(zones, [labels.NAMES.index(name) for name in wanted])
    names = pa.DictionaryArray.from_arrays(pa.array(zones, pa.int32()), pa.array(labels.NAMES)).cast(
        pa.string()
    )
    columns = {
        _AT: table[LINE],
        **{name: table[name] for name in run.keep},
        _DECISION: names,
        _PROBABILITY: table["probability_class_1"],
        **({_RECEIPT: table["decision_id"]} if run.with_ids else {}),
    }
    st.caption(f"{counted(int(shown.sum()), *_CLIENTS)}. {_where(run.file)}")
    st.dataframe(
        pa.table(columns).filter(pa.array(shown)),
        hide_index=True,
        lazy=True,
        column_config={_PROBABILITY: st.column_config.NumberColumn(format="percent")},
        alt="Clients du portefeuille, avec leur décision",
    )


def _where(file: ClientsFile) -> str:
    first = file.line(0)
    head = f", sous l’en-tête (ligne {first - 1})" if first > 1 else ""
    return f"Le premier client du fichier est à la ligne {first}{head}."


def _downloads(table: pa.Table) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Télécharger en CSV (tableur français)",
            lambda: result.as_csv(table),
            "decisions.csv",
            "text/csv",
            on_click="ignore",
        )
        st.download_button(
            "Télécharger en Parquet",
            lambda: result.as_parquet(table),
            "decisions.parquet",
            "application/vnd.apache.parquet",
            on_click="ignore",
        )


main()
