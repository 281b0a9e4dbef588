"""
Art: from bytes to text, and from text to cells, pages and pictures.

``encodings``    charsets of files, their detection, and SAUCE records
``rendering``    text with escape sequences as cells, in HTML, SVG, PNG or a terminal
``stylesheets``  the style sheet of cells in pages
"""
