"""Says in French what Streamlit says in English, where the page's own elements say it.

Streamlit has no setting for it: its issues 1353, 13500 and 15726. What stays English is in docs/dashboard.md.
"""

import json

_WORDS = {
    "Skip to main content": "Aller au contenu",
    "App pages": "Pages",
    "Sidebar": "Volet",
    "Collapse sidebar": "Replier le volet",
    "Expand sidebar": "Déplier le volet",
    "Show password": "Montrer la saisie",
    "Show password text": "Montrer la saisie",
    "Hide password": "Cacher la saisie",
    "Hide password text": "Cacher la saisie",
    "Link to heading": "Lien vers ce titre",
    "Increment": "Augmenter",
    "Decrement": "Diminuer",
    "Open": "Ouvrir",
    "Close": "Fermer",
    "Clear value": "Effacer",
    "Clear all": "Tout effacer",
    "Choose an option": "À choisir",
    "No results": "Aucun résultat",
    "Scroll tabs left": "Onglets précédents",
    "Scroll tabs right": "Onglets suivants",
    "Upload": "Choisir un fichier",
    "Browse files": "Choisir un fichier",
    "Add files": "Choisir un autre fichier",
    "file upload": "Dépôt d’un fichier",
    "add icon": "ajouter",
    "Drag and drop file here": "Ou déposez le fichier ici",
    "Fullscreen": "Plein écran",
    "Close fullscreen": "Quitter le plein écran",
    "Search": "Chercher",
    "Download as CSV": "Télécharger en CSV",
    "Show/hide columns": "Montrer ou cacher des colonnes",
    "Press Enter to apply": "Entrée pour valider",
    "Press Enter to submit form": "Entrée pour envoyer",
    "Running...": "Calcul en cours…",
    "Stop": "Arrêter",
    "Rerun": "Actualiser",
    "Print": "Imprimer",
    "Settings": "Réglages",
    "Main menu": "Menu",
    "Connecting": "Connexion",
    "Please wait...": "Patientez…",
    "Sort ascending": "Trier par ordre croissant",
    "Sort descending": "Trier par ordre décroissant",
    "Autosize": "Ajuster la largeur",
    "Pin column": "Épingler la colonne",
    "Unpin column": "Libérer la colonne",
    "Hide column": "Cacher la colonne",
    "Copy column name": "Copier le nom de la colonne",
    "Dataframe column menu": "Menu de la colonne",
    "Statistics": "Statistiques",
    "Type to search": "Chercher…",
    "Previous Result": "Résultat précédent",
    "Next Result": "Résultat suivant",
    "Close Search": "Fermer la recherche",
    "Connection error": "Connexion perdue",
}
# A regular expression of JavaScript, and what stands in its place.
_FORMS = (
    (r"^Help for (.*)$", "Aide\u00a0: $1"),
    (r"^Fullscreen: (.*)$", "Plein écran\u00a0: $1"),
    (r"^Close fullscreen: (.*)$", "Quitter le plein écran\u00a0: $1"),
    (r"^Search: (.*)$", "Chercher\u00a0: $1"),
    (r"^Download as CSV: (.*)$", "Télécharger en CSV\u00a0: $1"),
    (r"^Show/hide columns: (.*)$", "Montrer ou cacher des colonnes\u00a0: $1"),
    (r"^Remove (.*)$", "Retirer $1"),
    (r"^([0-9]+) results?$", "Résultats\u00a0: $1"),
    (r"^File must be .* or smaller\.$", "Ce fichier est trop gros."),
)
_WATCHED = ("aria-label", "title", "placeholder")

# No node is replaced, and so React goes on with its own. What it writes anew is said in French anew.
_SCRIPT = """
document.documentElement.lang = 'fr';
if (!window.saysFrench) {
  window.saysFrench = true;
  const words = new Map(Object.entries(WORDS)), watched = WATCHED;
  const forms = FORMS.map(([form, french]) => [new RegExp(form), french]);
  const ours = '[data-testid=stMarkdownContainer], textarea, script, style';
  const theirs = '[data-testid=stFileUploaderDropzone]';
  const users = ['stMultiSelectTagsContainer', 'stFileChipName'].map((id) => `[data-testid=${id}]`)
    .concat('[role=option]').join();
  const size = /(^|, )([0-9.]+) ?([KMG]?)B( per file)?$/;
  const inFrench = (_, before, number, unit, each) =>
    `${before}${number.replace('.', ',')}\u00a0${unit === 'K' ? 'k' : unit}o${each ? ' par fichier' : ''}`;
  const french = (text) => {
    const bare = text.trim();
    if (!/[A-Za-z]/.test(bare)) return text;
    if (words.has(bare)) return words.get(bare);
    return forms.reduce((said, [form, other]) => said.replace(form, other), text.replace(size, inFrench));
  };
  const sayText = (node) => {
    const within = node.parentElement;
    if (within?.closest(users)) return;
    if (within?.closest(ours) && !within.closest(theirs)) return;
    const said = french(node.nodeValue);
    if (said !== node.nodeValue) node.nodeValue = said;
  };
  const sayAttribute = (element, name) => {
    if (element.matches('[data-tag]') || (name === 'title' && element.closest(users))) return;
    const now = element.getAttribute(name), said = now && french(now);
    if (said !== now) element.setAttribute(name, said);
  };
  const say = (root) => {
    if (root.nodeType === Node.TEXT_NODE) return sayText(root);
    if (root.nodeType !== Node.ELEMENT_NODE) return;
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) sayText(texts.currentNode);
    const named = watched.map((name) => `[${name}]`).join();
    for (const element of [root, ...root.querySelectorAll(named)])
      for (const name of watched) if (element.hasAttribute(name)) sayAttribute(element, name);
  };
  say(document.body);
  new MutationObserver((changes) => {
    for (const one of changes) {
      if (one.type === 'characterData') sayText(one.target);
      else if (one.type === 'attributes') sayAttribute(one.target, one.attributeName);
      else one.addedNodes.forEach(say);
    }
  }).observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: watched,
  });
}
"""


def script() -> str:
    """JavaScript for the page; it may run again and again."""
    known = {"WORDS": _WORDS, "WATCHED": _WATCHED, "FORMS": _FORMS}
    written = _SCRIPT
    for name, value in known.items():
        written = written.replace(name, json.dumps(value, ensure_ascii=False))
    return f"<script>{written}</script>"
