"""`python -m runtime.config`: print docs/config.md."""

import sys

from runtime.config.document import document

sys.stdout.write(document())
