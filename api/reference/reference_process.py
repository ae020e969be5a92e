"""`python -m api.reference.reference_process SOCKET`: answers about the reference clients for one worker.

It holds them, and the answers of the version that is served. It runs at a low priority, and ends with its
worker, or when nothing has been asked for some minutes.
"""

from api.deciding import computing_process
from api.reference.tasks import AboutModel, Neighbours, PageOfClients, Totals

KINDS = (AboutModel, Totals, PageOfClients, Neighbours)

if __name__ == "__main__":
    computing_process.run(KINDS)
