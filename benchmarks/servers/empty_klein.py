"""
The empty handler on Klein as it comes, under stock twisted.web.

    empty_klein.py PORT
"""

from _empty_app import app
from _quiet import serve

serve(app.resource())
