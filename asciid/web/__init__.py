"""
Web pages: what each shows, and their templates.

``pages``  the contents of each page, as plain values
"""
