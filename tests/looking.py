"""One look at a model URI in this process, as the loader looks again and again in its own."""

import contextlib
from pathlib import Path

from api.delivery import sources
from api.delivery.news import News
from mlflow_model.bundle.trial import Trial


def look_once(uri: str, folder: Path) -> News:
    """The news of one look at a model URI."""
    with contextlib.closing(Trial()) as trial:
        model = sources.followed(uri, folder, trial)
        model.look(afresh=False)
        return model.news
