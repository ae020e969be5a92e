"""`python3 .ci/documented_request.py PORT`: ask what README asks, and compare the answer with README's."""

import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_PATIENCE = 600  # seconds: the service is installed first

readme = Path("README.md").read_text(encoding="utf-8")
asked = re.search(r"/predict .*?-d '(\{.*?\})'\n(\{.*?\})\n", readme, re.DOTALL)
request = urllib.request.Request(
    f"http://127.0.0.1:{sys.argv[1]}/predict", asked[1].encode(), {"Content-Type": "application/json"}
)
deadline = time.monotonic() + _PATIENCE
while True:
    try:
        answer = urllib.request.urlopen(request, timeout=10).read().decode()
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"no answer: {error}")
        time.sleep(1)
if answer != asked[2]:
    sys.exit(f"README shows {asked[2]}\nthe service says {answer}")
