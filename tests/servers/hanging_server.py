"""Says on stderr what it waits for, and never answers: `python -I hanging_server.py`."""

import sys
import time

print("loading model...", file=sys.stderr)
print("Enter the name of the model:", end=" ", file=sys.stderr, flush=True)
while True:
    time.sleep(60)
