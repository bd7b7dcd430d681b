"""Strategy files, read with the place of everything in them.

What comes out is plain JSON data: maps with text keys, lists, text, 64-bit integers, finite floats, booleans,
null. Whatever cannot become that is refused with its place and a remedy; nothing else is ever raised.
"""

from executor.documents.loading import load_data, load_file, load_text
from executor.documents.places import MAX_DEPTH, Document, Place

__all__ = ["MAX_DEPTH", "Document", "Place", "load_data", "load_file", "load_text"]
