"""Scripts that run inside a toolkit's environment: they import it, NumPy and the standard library.

They never import npud.  `channel.py` is the exception: both ends of the pipe use it.
"""
