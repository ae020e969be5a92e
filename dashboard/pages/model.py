"""The page « Modèle »: which version decides."""

from dashboard import shell
from dashboard.api_client import ApiError

shell.title("Modèle")
try:
    shell.served(shell.api().ready())
except ApiError as error:
    shell.failure(error)
