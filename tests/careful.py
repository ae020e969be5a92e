"""POST /predict by the careful path alone: the strict reader, every value by its rule, json.dumps."""

import json
from types import MappingProxyType

from api.deciding import strict_json
from api.deciding.answer import Answer
from mlflow_model.bundle.scoring import Refusal, Scorer
from mlflow_model.errors import BadData, MissingFeatures, ScoringError


def answer(scorer: Scorer, body: bytes) -> tuple[int, bytes]:
    """What POST /predict must give for a JSON body within the limit, to the byte."""
    try:
        client = MappingProxyType(strict_json.strict(body, scorer.features))  # no dict is no ordinary client
        return 200, json.dumps(scorer.decide(client), ensure_ascii=False).encode()
    except ScoringError as error:
        return Answer.of(error, None)[:2]
    except Refusal as refused:
        why = MissingFeatures(refused.missing, client) if refused.missing else BadData(refused.detail)
        return Answer.of(why, None)[:2]
