"""Print what npud detects, with the package npud.

python examples/subscribe.py [ENDPOINT]
"""

import sys

import npud

endpoint = sys.argv[1] if len(sys.argv) > 1 else npud.DEFAULT_ENDPOINT
try:
    for message in npud.subscribe(endpoint):
        if message.lost:
            print(f"{message.camera}: {message.lost} messages lost", file=sys.stderr)
        for label, score, box in message:
            print(message.camera, label, f"{score:.2f}", box.round(), flush=True)
except npud.SubscribeError as error:  # nothing comes, or it is not npud's
    sys.exit(f"error: {error}")
except (KeyboardInterrupt, BrokenPipeError):
    pass
