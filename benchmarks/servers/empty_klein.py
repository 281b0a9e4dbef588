"""
The empty handler on unmodified Klein, under stock twisted.web.

    empty_klein.py PORT
"""

from _empty_app import app
from _quiet import serve

serve(app.resource())
